"""Who is connected is asked page by page, until the server with most has told all. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import orjson

from fleetbus.runtime.nats_connections import list_connections
from fleetbus.runtime.ports import Message
from fleetbus.schemas.connections import PAGE, Page
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

TOTALS = {"large": 2 * PAGE + 1, "small": 1}


class Servers:
    """Each answers every question, but for one page that does not come. Just what a listing needs of a bus."""

    def __init__(self, lost: tuple[str, int]) -> None:
        self._lost = lost
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    @asynccontextmanager
    async def subscribe(self, _subject: str) -> AsyncIterator[AsyncIterator[Message]]:
        async def answers() -> AsyncIterator[Message]:
            while True:
                yield await self._answers.get()

        yield answers()

    async def publish(self, _subject: str, data: bytes, *, reply: str) -> None:
        offset = orjson.loads(data)["offset"]
        for name, total in TOTALS.items():
            if (name, offset) != self._lost:
                page = {"total": total, "offset": offset, "connections": []}
                told = {"server": {"name": name, "id": name}, "data": page}
                self._answers.put_nowait(Message(reply, orjson.dumps(told)))


def listed(lost: tuple[str, int]) -> list[Page]:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[Page]:
        servers: Any = Servers(lost)
        return await list_connections(servers, VirtualClock(loop, chance), "who", "inbox", {})

    return simulate(1, scenario)


def test_a_small_servers_only_page_does_not_end_the_large_ones() -> None:
    """Also when the page of the large one that went with it did not come."""
    offsets = [one.offset for one in listed(("large", PAGE)) if one.server == "large"]
    assert offsets == [0, 2 * PAGE]


def test_asking_ends_when_the_last_page_was_asked_for() -> None:
    assert {one.offset for one in listed(("none", 0))} == {0, PAGE, 2 * PAGE}
