"""Events for a subscriber: each once, in order, and none missing for who resumes with the last sequence.

What the bus delivers live is only a hint that there is more: everything is read from the stream, from the last
sequence on. So a lost, late or doubled delivery, a reconnect or a full buffer cannot tear a hole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from fleetbus.client.connection import logger
from fleetbus.client.event_sources import EventSource, Page
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Subscription
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, Stale
from fleetbus.schemas.events import CloudEvent

Since = int | datetime | None
"""The last sequence that was seen; a moment; or None for whatever happens from now on."""

LOOK_EVERY_S = 20.0
"""Also without a hint: hints are delivered at most once."""
_RETRY_S = 0.2
_PATIENCE = 40


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
    source: EventSource, bus: Bus, clock: Clock, pattern: str, since: Since, *, follow: bool
) -> AsyncGenerator[Event, None]:
    """Events of the types that `pattern` names (`bundle.*`, `bundle.applied`, `*`), oldest first.

    With `follow` it ends only by cancellation or `aclose`, and survives reconnects. Raises DocumentInvalid
    (pattern), Stale (`since` lies beyond the stream), NotPermitted, BusUnavailable (without `follow`).
    """
    wanted = source.subjects(pattern)
    if not follow:
        if since is None:
            return
        place = await _start(source, since)
        while True:
            page = await _page(source, pattern, place)
            for stored in page.events:
                if (event := _event(*stored)) is not None:
                    yield event
            if not page.more:
                return
        return
    async with _listening(bus, wanted) as hints:
        place = await _begun(source, bus, clock, since)
        empty = 0
        while True:
            connection = bus.connection
            try:
                page = await _page(source, pattern, place)
            except BusUnavailable:
                await _wait_again(bus, clock)
                continue
            for stored in page.events:
                if (event := _event(*stored)) is not None:
                    yield event
            empty = 0 if page.events else empty + 1
            if page.more or (page.events and hints.newest > place.after):
                continue
            if hints.newest > place.after and empty <= _PATIENCE:
                # The server that was asked does not have yet what another one has announced.
                await clock.sleep(clock.jitter(_RETRY_S / 4))
            else:
                await _hint(bus, clock, hints, max(place.after, hints.newest), connection)


@asynccontextmanager
async def _listening(bus: Bus, wanted: tuple[str, ...]) -> AsyncIterator[_Hints]:
    hints = _Hints()
    async with AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(bus.subscribe(subject)) for subject in wanted]
        listening = [asyncio.create_task(hints.listen(live), name="hints of events") for live in lives]
        try:
            yield hints
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


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


async def _page(source: EventSource, pattern: str, place: _Place) -> Page:
    """The next stored events; moves `place` behind them."""
    page = await source.page(pattern, place.after, place.moment)
    if page.events:
        place.after, place.moment = page.events[-1][0], None
    return page


async def _begun(source: EventSource, bus: Bus, clock: Clock, since: Since) -> _Place:
    """As `_start`, once the bus lets it."""
    while True:
        try:
            return await _start(source, since)
        except BusUnavailable:
            await _wait_again(bus, clock)


async def _wait_again(bus: Bus, clock: Clock) -> None:
    await clock.sleep(clock.jitter(_RETRY_S))
    await bus.wait_connected()


async def _start(source: EventSource, since: Since) -> _Place:
    if isinstance(since, datetime):
        return _Place(moment=since)
    newest = await source.newest(since or 0)
    if since is None:
        return _Place(newest)
    if since > newest:
        raise Stale(
            f"sequence {since} lies beyond the newest event, {newest}",
            where="events",
            remedy="the stream was made anew: go on from a time",
        )
    return _Place(since)


def _event(sequence: int, content: bytes) -> Event | None:
    """None for what is no event; only the controller writes the stream, so it is newer than this client."""
    try:
        stored = CloudEvent.from_bytes(content)
    except MessageMalformed:
        logger.warning("event %s cannot be read", sequence)
        return None
    return Event(**stored.model_dump(), sequence=sequence)
