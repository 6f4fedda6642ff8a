"""Events for a subscriber: each once, in order, and none missing for who resumes with the last sequence.

What the bus delivers live is only a hint that there is more: everything is read from the stream, from the last
sequence on. So a lost, late or doubled delivery, a reconnect or a full buffer cannot tear a hole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from fleetbus.client.connection import logger
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Message, Subscription
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, Stale
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.streams import EVENTS

Since = int | datetime | None
"""The last sequence that was seen; a moment; or None for whatever happens from now on."""

PAGE = 500
LOOK_EVERY_S = 20.0
"""Also without a hint: hints are delivered at most once."""
_RETRY_S = 0.2
_PATIENCE = 40
_LEFT = "Nats-Num-Pending"


class Event(CloudEvent):
    """A CloudEvent with its place in the stream: `since=event.sequence` goes on after it."""

    sequence: int

    @property
    def cluster(self) -> str:
        """The cluster that it is about; empty for one of the whole fleet."""
        return self.source.partition("/clusters/")[2]


@dataclass(slots=True)
class _Place:
    """Where the next read starts: after a sequence, or at a moment while nothing was found since."""

    after: int = 0
    moment: datetime | None = None


class _Hints:
    """What arrives live, boiled down to: look again."""

    def __init__(self) -> None:
        self.newest = 0
        self._arrived = asyncio.Event()

    async def listen(self, live: Subscription) -> None:
        async for message in live:
            self.newest = max(self.newest, message.sequence)
            self._arrived.set()

    async def beyond(self, sequence: int) -> None:
        while self.newest <= sequence:
            self._arrived.clear()
            await self._arrived.wait()


async def events(
    bus: Bus, clock: Clock, pattern: str, since: Since, *, follow: bool
) -> AsyncGenerator[Event, None]:
    """Events of the types that `pattern` names (`bundle.*`, `bundle.applied`, `*`), oldest first.

    With `follow` it ends only by cancellation or `aclose`, and survives reconnects. Raises DocumentInvalid
    (pattern), Stale (`since` lies beyond the stream), NotPermitted, BusUnavailable (without `follow`).
    """
    subject = subjects.events_matching(pattern)
    if not follow:
        if since is None:
            return
        place = await _start(bus, since)
        while page := await _page(bus, subject, place):
            for message in page:
                if (event := _event(message)) is not None:
                    yield event
            if len(page) < PAGE:
                return
        return
    async with bus.subscribe(subject) as live, _listening(live) as hints:
        place = await _start(bus, since)
        empty = 0
        while True:
            connection = bus.connection
            try:
                page = await _page(bus, subject, place)
            except BusUnavailable:
                await clock.sleep(clock.jitter(_RETRY_S))
                await bus.wait_connected()
                continue
            for message in page:
                if (event := _event(message)) is not None:
                    yield event
            empty = 0 if page else empty + 1
            if len(page) == PAGE or (page and hints.newest > place.after):
                continue
            if hints.newest > place.after and empty <= _PATIENCE:
                # The server that was asked does not have yet what another one has announced.
                await clock.sleep(clock.jitter(_RETRY_S / 4))
            else:
                await _hint(bus, clock, hints, max(place.after, hints.newest), connection)


@asynccontextmanager
async def _listening(live: Subscription) -> AsyncIterator[_Hints]:
    hints = _Hints()
    listening = asyncio.create_task(hints.listen(live), name="hints of events")
    try:
        yield hints
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def _hint(bus: Bus, clock: Clock, hints: _Hints, sequence: int, connection: int) -> None:
    """Until something newer was announced, the bus was away in between, or it is time to look anyway."""
    reasons = [
        asyncio.ensure_future(hints.beyond(sequence)),
        asyncio.ensure_future(bus.connection_changed(connection)),
        asyncio.ensure_future(clock.sleep(clock.jitter(LOOK_EVERY_S))),
    ]
    try:
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for reason in reasons:
            reason.cancel()
        ended = await asyncio.gather(*reasons, return_exceptions=True)
    for error in ended:
        if isinstance(error, BusUnavailable):
            raise error


async def _page(bus: Bus, subject: str, place: _Place) -> list[Message]:
    """The next stored events; moves `place` behind them."""
    if place.moment is not None:
        page = await bus.get_many(EVENTS.name, subject, since=place.moment, limit=PAGE)
    else:
        page = await bus.get_many(EVENTS.name, subject, after=place.after, limit=PAGE)
    if page:
        place.after, place.moment = page[-1].sequence, None
    return page


async def _start(bus: Bus, since: Since) -> _Place:
    if isinstance(since, datetime):
        return _Place(moment=since)
    newest = await newest_sequence(bus, since or 0)
    if since is None:
        return _Place(newest)
    if since > newest:
        raise Stale(
            f"sequence {since} lies beyond the newest event, {newest}",
            where="events",
            remedy="the stream was made anew: go on from a time",
        )
    return _Place(since)


async def newest_sequence(bus: Bus, known: int = 0) -> int:
    """The newest event's sequence, 0 when there is none; found by what the server says is left.

    `known` is where to begin; when nothing lies behind it, everything is looked at.
    """
    after, newest = max(0, known - 1), 0
    while True:
        found = await bus.get_many(EVENTS.name, subjects.ALL_EVENTS, after=after, limit=1)
        if not found and after and not newest:
            after = 0
            continue
        if not found:
            return newest
        if known and not newest and after == known - 1 and found[0].sequence > known + 1:
            logger.warning("events up to sequence %s are not kept any more", found[0].sequence - 1)
        newest = found[0].sequence
        left = found[0].headers.get(_LEFT, "")
        # As many as are left lie behind it, each with a sequence of its own.
        after = newest + max(0, int(left) - 1) if left.isascii() and left.isdigit() else newest


def _event(message: Message) -> Event | None:
    """None for what is no event; only the controller writes the stream, so it is newer than this client."""
    try:
        stored = CloudEvent.from_bytes(message.data)
    except MessageMalformed:
        logger.warning("event %s cannot be read", message.sequence)
        return None
    return Event(**stored.model_dump(), sequence=message.sequence)
