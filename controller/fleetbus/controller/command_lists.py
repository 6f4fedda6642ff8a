"""The mailboxes `command`: one signed list of open commands a cluster, changed one change at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from fleetbus.controller import orders
from fleetbus.controller.fence import Fence
from fleetbus.controller.ports import ClusterView
from fleetbus.controller.publish import uid_of
from fleetbus.controller.recent import parsed
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities.commands import EVENT_ISSUED, CommandOrder
from fleetbus.schemas.desired import Command, CommandList, next_serial
from fleetbus.schemas.errors import NotFound, Refused, Transient
from fleetbus.schemas.events import Happened
from fleetbus.schemas.signing import Sign
from fleetbus.schemas.streams import EVENTS

REASON_ISSUED = "CommandIssued"
_TIDY_EVERY_S = 600.0
_LOOK_BACK = timedelta(minutes=10)

Commands = tuple[Command, ...]


class CommandLists:
    """Writes command lists under the term."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        statuses: Statuses,
        fence: Fence,
        sign: Sign,
        time: ServerTime,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._statuses = statuses
        self._fence = fence
        self._sign = sign
        self._time = time
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def change(self, cluster: str, change: Callable[[Commands], Commands]) -> None:
        """Publish what `change` makes of the cluster's list, unless it is the same.

        Raises NotFound, Refused, and BusUnavailable when it is not known whether it was written.
        """
        async with self._locks[cluster]:
            view = self._known.cluster(cluster)
            if view is None:
                raise NotFound(f"there is no cluster `{cluster[:63]}`", remedy="see `fleetbus get clusters`")
            if view.document.deleting:
                raise Refused(f"cluster {cluster} is being removed")
            if not uid_of(view):
                raise Refused(f"cluster {cluster} has never reported", remedy="start its agent first")
            last = view.commands
            before = last.commands if last else ()
            after = change(before)
            if after == before:
                return
            now = self._time.now()
            new = CommandList(
                fleet=self._known.fleet,
                cluster=uid_of(view),
                epoch=self._fence.term.epoch,
                serial=next_serial(last.serial if last else 0, now),
                issued_at=now,
                commands=after,
            )
            subject = subjects.command(view.id)
            await self._fence.put([(subject, self._sign(subject, new.to_bytes()))])
            self._known.put_commands(view.id, new)

    async def issue(self, view: ClusterView, order: CommandOrder, by: str) -> Command:
        """Put an order at the end of a cluster's list, and say so in an event."""
        command = orders.ordered(order, self._clock.identifier(), self._time.now(), by)
        results = view.results
        await self.change(
            view.id.name, lambda before: orders.added(before, command, results, self._time.now())
        )
        await self._say_issued(view, command)
        return command

    async def _say_issued(self, view: ClusterView, command: Command) -> None:
        happened = Happened(
            type=EVENT_ISSUED,
            subject=f"command/{command.id}",
            reason=REASON_ISSUED,
            message=f"{command.driver} to {view.id.name}, by {command.issued_by}",
            details={"cluster": view.id.name, "driver": command.driver},
        )
        await self._statuses.add(view.document.key, view.document.uid, happened)

    async def catch_up(self) -> None:
        """Say of every command that was issued just before a controller died that it was issued, once."""
        since = self._time.now() - _LOOK_BACK
        open_ = [
            (view, command)
            for view in self._known.clusters()
            for command in (view.commands.commands if view.commands else ())
            if command.issued_at > since and not view.document.deleting
        ]
        if not open_:
            return
        subject = subjects.event(subjects.MAIN, subjects.FLEET, EVENT_ISSUED)
        events = await self._bus.get_many(EVENTS.name, subject, since=since - _LOOK_BACK, limit=10_000)
        said = {event.subject for message in events if (event := parsed(message)) is not None}
        for view, command in open_:
            status = self._known.status(view.document.key)
            pending = (
                {one.subject for one in status.outbox.pending if one.type == EVENT_ISSUED} if status else ()
            )
            if f"command/{command.id}" not in said and f"command/{command.id}" not in pending:
                await self._say_issued(view, command)

    async def tidy(self) -> None:
        """Forget what ended long ago, for ever."""
        while True:
            for view in self._known.clusters():
                if view.commands and view.commands.commands and not view.document.deleting:
                    await self._forget(view.id.name)
            await self._clock.sleep(self._clock.jitter(_TIDY_EVERY_S))

    async def _forget(self, name: str) -> None:
        view = self._known.cluster(name)
        results = view.results if view else None
        try:
            await self.change(name, lambda before: orders.remaining(before, results, self._time.now()))
        except (Transient, NotFound, Refused):
            return  # It is looked at again the next time.
