"""Following a stream by an ordered, ephemeral push consumer that we control message by message.

The consumer lives in the server's memory and may vanish at any time: with the connection, with its server, after
a gap. Then another one starts after the last stream sequence that was given; before the first whole pass it
starts anew and what is older than what was given is left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_jetstream import api, stored
from fleetbus.runtime.nats_link import Link
from fleetbus.runtime.nats_wire import Delivery, whole_number
from fleetbus.runtime.ports import CAUGHT_UP, CaughtUp, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, NotFound

HEARTBEAT_S = 3
_SILENCE_S = 3.0 * HEARTBEAT_S
_KEPT_S = 30
_LONGEST_PAUSE_S = 5.0
_NANOSECONDS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

REMOVED = {"Fleetbus-Removed": "1"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a delivered message stands: in its stream, in its consumer, and what is left after it."""

    stream_sequence: int
    consumer_sequence: int
    stored_at: datetime
    pending: int


class _Arrivals:
    """What a consumer brings and what local purges say, in one order; None when the connection ended."""

    def __init__(self) -> None:
        self._items: deque[Delivery | Message | None] = deque()
        self._changed = asyncio.Event()

    def put(self, item: Delivery | Message | None) -> None:
        self._items.append(item)
        self._changed.set()

    def begin(self) -> None:
        """Forget what the last consumer brought; what a purge said stays true."""
        self._items = deque(item for item in self._items if isinstance(item, Message))

    def end(self) -> None:
        self.put(None)

    async def next(self) -> Delivery | Message:
        if not self._items:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    while not self._items:
                        self._changed.clear()
                        await self._changed.wait()
            except TimeoutError as cause:
                raise BusUnavailable("a followed stream fell silent") from cause
        item = self._items.popleft()
        if item is None:
            raise BusUnavailable("the connection ended")
        return item


class Follower:
    """One `follow`. `items` goes on for ever; `removed` tells it of a purge."""

    def __init__(self, stream: str, subject: str, wait_link: Callable[[], Awaitable[Link]], clock: Clock):
        self.stream = stream
        self._subject = subject
        self._wait_link = wait_link
        self._clock = clock
        self._arrivals = _Arrivals()
        self._given: dict[str, int] = {}
        self._last = 0
        self._whole = False
        self._created = ""

    def removed(self, subject: str, sequence: int) -> None:
        """A purge took all values of `subject` up to `sequence`."""
        if subjects.matches(self._subject, subject):
            self._arrivals.put(Message(subject, b"", headers=REMOVED, sequence=sequence))

    async def items(self) -> AsyncGenerator[Message | CaughtUp, None]:
        failures = 0
        while True:
            link = await self._wait_link()
            before = self._last
            try:
                async with aclosing(self._pass(link)) as items:
                    async for item in items:
                        yield item
            except (BusUnavailable, NotFound):
                # The supervisor tells of lost connections; a gap or a lost consumer heals here.
                failures = 0 if self._last > before else failures + 1
            if failures > 1:
                pause_s = min(_LONGEST_PAUSE_S, 0.05 * 2 ** min(failures, 10))
                await self._clock.sleep(self._clock.jitter(pause_s))

    async def _pass(self, link: Link) -> AsyncGenerator[Message | CaughtUp, None]:
        """One consumer's life. Ends with BusUnavailable when another one is needed."""
        self._arrivals.begin()
        inbox, name = link.new_inbox(), self._clock.identifier()
        route = link.connection.open_route(inbox, self._arrivals.put)
        link.watch_end(self._arrivals.end)
        try:
            total = await self._create(link, name, inbox)
            told, seen = False, 0
            while True:
                if not told and (seen >= total):
                    told = self._whole = True
                    self._given.clear()
                    yield CAUGHT_UP
                arrived = await self._arrivals.next()
                if isinstance(arrived, Message):
                    yield arrived
                elif (place := _place(arrived, inbox)) is None:
                    _obey(link, arrived, seen)
                else:
                    if place.consumer_sequence != seen + 1:
                        raise BusUnavailable("a followed stream has a gap")
                    seen = place.consumer_sequence
                    if place.pending == 0:
                        total = min(total, seen)
                    if (message := self._fresh(arrived, place)) is not None:
                        yield message
        finally:
            link.unwatch_end(self._arrivals.end)
            link.connection.close_route(route)
            link.connection.post(subjects.jetstream_api(f"CONSUMER.DELETE.{self.stream}.{name}"))

    async def _create(self, link: Link, name: str, inbox: str) -> int:
        """Start a consumer where this follower stands; how many messages it has to give at first."""
        await self._look_at_stream(link)
        config: dict[str, Any] = {
            "name": name,
            "deliver_subject": inbox,
            "filter_subject": self._subject,
            "ack_policy": "none",
            "replay_policy": "instant",
            "flow_control": True,
            "idle_heartbeat": HEARTBEAT_S * _NANOSECONDS,
            "inactive_threshold": _KEPT_S * _NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
            "max_deliver": 1,
        }
        if self._whole:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last + 1}
        else:
            config["deliver_policy"] = "last_per_subject"
        body = {"stream_name": self.stream, "config": config, "action": "create"}
        made = await api(link, f"CONSUMER.CREATE.{self.stream}.{name}", body)
        return int(made.get("num_pending", 0)) + int(made.get("delivered", {}).get("consumer_seq", 0))

    async def _look_at_stream(self, link: Link) -> None:
        """Begin anew when the stream is another one, or stands before what it had given (a restored backup)."""
        told = await api(link, f"STREAM.INFO.{self.stream}", {})
        created, last = str(told.get("created", "")), int(told.get("state", {}).get("last_seq", 0))
        if self._created and (created != self._created or last < self._last):
            self._last, self._whole = 0, False
            self._given.clear()
        self._created = created

    def _fresh(self, delivery: Delivery, place: _Place) -> Message | None:
        """The message, unless a newer one of its subject was given before the first pass was whole."""
        if not self._whole:
            if place.stream_sequence < self._given.get(delivery.subject, 0):
                return None
            self._given[delivery.subject] = place.stream_sequence
        self._last = max(self._last, place.stream_sequence)
        # A message cannot say itself that it was removed.
        for name in REMOVED:
            delivery.headers.pop(name, None)
        return stored(delivery, place.stream_sequence, delivery.subject, place.stored_at)


def _place(delivery: Delivery, inbox: str) -> _Place | None:
    """The place in the reply `$JS.ACK.…`, which the server writes (9 tokens, or 11 and more with a domain).

    None for the consumer's own messages: only these come on the inbox itself.
    """
    tokens = delivery.reply.split(".")
    if delivery.subject == inbox or tokens[:2] != ["$JS", "ACK"] or len(tokens) < 9:
        return None
    at = 4 if len(tokens) == 9 else 6
    _, stream, consumer, nanoseconds, pending = (whole_number(token) for token in tokens[at : at + 5])
    return _Place(stream, consumer, _EPOCH + timedelta(microseconds=nanoseconds // 1000), pending)


def _obey(link: Link, control: Delivery, seen: int) -> None:
    """Flow control is answered once everything before it was taken; a heartbeat tells what should have come."""
    if control.status != "100":
        raise BusUnavailable(f"the consumer ended: {control.description}")
    if control.reply:
        link.connection.post(control.reply)
    elif stalled := control.headers.get("Nats-Consumer-Stalled"):
        link.connection.post(stalled)
    if whole_number(control.headers.get("Nats-Last-Consumer", "")) > seen:
        raise BusUnavailable("a followed stream has a gap")
