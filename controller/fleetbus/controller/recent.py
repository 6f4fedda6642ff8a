"""The last events, by what they are about: for `describe`, and to see what has been said before."""

from __future__ import annotations

from collections import OrderedDict, deque

from fleetbus.runtime.ports import Bus, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.streams import EVENTS

READ = 2000
"""Events read at the start, the newest."""
KEPT_SUBJECTS = 5000
KEPT_EACH = 20


class Recent:
    """A bounded memory: at most KEPT_EACH events for each of KEPT_SUBJECTS objects."""

    def __init__(self) -> None:
        self._by_subject: OrderedDict[str, deque[CloudEvent]] = OrderedDict()

    async def load(self, bus: Bus) -> None:
        """Read the newest events. Raises BusUnavailable."""
        last = await bus.get_last(EVENTS.name, subjects.ALL_EVENTS)
        if last is None:
            return
        after = max(0, last.sequence - READ)
        for message in await bus.get_many(EVENTS.name, subjects.ALL_EVENTS, after=after, limit=READ):
            event = parsed(message)
            if event is not None:
                self.add(event)

    def add(self, event: CloudEvent) -> None:
        events = self._by_subject.setdefault(event.subject, deque(maxlen=KEPT_EACH))
        self._by_subject.move_to_end(event.subject)
        events.append(event)
        while len(self._by_subject) > KEPT_SUBJECTS:
            self._by_subject.popitem(last=False)

    def of(self, subject: str, cluster: str = "") -> list[CloudEvent]:
        """Of one object such as `bundle/ingress`, oldest first; with `cluster` only that cluster's."""
        ending = f"/clusters/{cluster}" if cluster else ""
        return [event for event in self._by_subject.get(subject, ()) if event.source.endswith(ending)]

    def in_cluster(self, cluster: str, limit: int = KEPT_EACH) -> list[CloudEvent]:
        """The newest that come from one cluster or, about it, from no other; oldest first."""
        ending = f"/clusters/{cluster}"
        found = [
            event
            for events in self._by_subject.values()
            for event in events
            if event.source.endswith(ending)
            or (event.subject == f"cluster/{cluster}" and "/clusters/" not in event.source)
        ]
        return sorted(found, key=lambda event: event.time)[-limit:]

    def has(self, subject: str, type_: str, message: str) -> bool:
        return any(
            event.short_type == type_ and event.data.get("message") == message for event in self.of(subject)
        )


def parsed(message: Message) -> CloudEvent | None:
    """A stored event; None for bytes that are none."""
    try:
        return CloudEvent.from_bytes(message.data)
    except MessageMalformed:
        return None
