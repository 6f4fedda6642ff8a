"""Where stored events are read: from the stream, or through the controller by who may read some types only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleetbus.client.connection import logger
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import api, subjects
from fleetbus.schemas.roles import granted_subjects
from fleetbus.schemas.streams import EVENTS

PAGE = 500
_LEFT = "Nats-Num-Pending"


@dataclass(frozen=True, slots=True)
class Page:
    """Stored events in order, each with its place in the stream; whether there are more behind them."""

    events: tuple[tuple[int, bytes], ...]
    more: bool


class EventSource(Protocol):
    """Stored events of a pattern of types."""

    def subjects(self, pattern: str) -> tuple[str, ...]:
        """What to subscribe to, to hear that there are more. Raises DocumentInvalid, NotPermitted."""

    async def page(self, pattern: str, after: int, since: datetime | None) -> Page:
        """Those behind a place, or from a moment on. Raises BusUnavailable."""

    async def newest(self, known: int) -> int:
        """The last place in the stream; `known` is one that was there."""


@dataclass(frozen=True, slots=True)
class StreamSource:
    """By batched direct gets: whoever may do that reads every type."""

    bus: Bus

    def subjects(self, pattern: str) -> tuple[str, ...]:
        return (subjects.events_matching(pattern),)

    async def page(self, pattern: str, after: int, since: datetime | None) -> Page:
        subject = subjects.events_matching(pattern)
        place = 0 if since else after
        found = await self.bus.get_many(EVENTS.name, subject, after=place, since=since, limit=PAGE)
        return Page(tuple((one.sequence, one.data) for one in found), len(found) == PAGE)

    async def newest(self, known: int) -> int:
        """0 when there is none; found by what the server says is left.

        `known` is where to begin; when nothing lies behind it, everything is looked at.
        """
        after, newest = max(0, known - 1), 0
        while True:
            found = await self.bus.get_many(EVENTS.name, subjects.ALL_EVENTS, after=after, limit=1)
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


@dataclass(frozen=True, slots=True)
class ApiSource:
    """Through the controller, which reads the types off the token. `granted`: the same, as the token says them."""

    ask: Callable[[api.EventsRequest], Awaitable[api.EventsResult]]
    granted: tuple[str, ...]

    def subjects(self, pattern: str) -> tuple[str, ...]:
        return granted_subjects(self.granted, pattern)

    async def page(self, pattern: str, after: int, since: datetime | None) -> Page:
        found = await self.ask(
            api.EventsRequest(type=pattern or "*", after=0 if since else after, since=since)
        )
        return Page(tuple((one.sequence, one.event.encode()) for one in found.rows), found.more)

    async def newest(self, known: int) -> int:
        return (await self.ask(api.EventsRequest(limit=0))).newest
