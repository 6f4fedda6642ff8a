"""Who follows events waits for a bus that is away at that very moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fleetbus.client.event_sources import Page
from fleetbus.client.events import events
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.events import CloudEvent

STORED = CloudEvent(
    id="1",
    source="/fleets/demo",
    type="dev.fleetbus.bundle.applied.v1",
    subject="bundle/shop",
    time=datetime(2026, 11, 1, tzinfo=UTC),
    origin="o",
    transition=1,
    data={},
)


@dataclass
class Source:
    """A stream that ends at 7, once it can be asked again."""

    away: int
    asked: int = 0

    def subjects(self, pattern: str) -> tuple[str, ...]:
        return ("fleet.v1.event.>",)

    async def newest(self, known: int) -> int:
        self.asked += 1
        if self.asked <= self.away:
            raise BusUnavailable("the server has just gone")
        return 7

    async def page(self, pattern: str, after: int, since: datetime | None) -> Page:
        return Page(((after + 1, STORED.to_bytes()),), more=False)


@dataclass
class Bus:
    """The port Bus as far as events are followed on it; it tells of nothing."""

    connection: int = 1
    ever: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_connected(self) -> None:
        return

    @asynccontextmanager
    async def subscribe(self, subject: str) -> AsyncIterator[AsyncIterator[Any]]:
        yield self._nothing()

    async def _nothing(self) -> AsyncIterator[Any]:
        await self.ever.wait()
        yield


async def test_the_place_to_begin_is_asked_for_again() -> None:
    source, bus = Source(away=2), Bus()
    port: Any = bus
    async with (
        asyncio.timeout(10),
        aclosing(events(source, port, SystemClock(), "*", 5, follow=True)) as found,
    ):
        first = await anext(found)
    assert (first.sequence, source.asked) == (6, 3)
