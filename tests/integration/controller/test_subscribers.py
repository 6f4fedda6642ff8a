"""A subscriber of some types hears, reads and resumes with those alone, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fleetbus.client import Event, Fleet
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import NotPermitted, Stale
from fleetbus.schemas.events import Transition, cloud_event
from tests.bus_server import FleetServer
from tests.integration.controller.people import CLOCK, Operator, controlling

WHO = "some-types"
MINE = ("bundle.applied", "cluster.connected", "bundle.removed")
OTHERS = ("secret.synced", "cluster.removed")


async def emit(bus: NatsBus, types: tuple[str, ...], first: int) -> None:
    for number, type_ in enumerate(types, first):
        transition = Transition(
            sequence=number, at=CLOCK.now(), type=type_, subject="x/y", reason="R", message=str(number)
        )
        body = cloud_event("test", "c1", "origin", transition).to_bytes()
        await bus.put(Put(subjects.emit("main", "c1", type_), body))


@pytest.fixture
async def team(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> AsyncIterator[tuple[Fleet, NatsBus]]:
    """The subscriber, while a controller answers."""
    async with controlling(fleet, tmp_path), fleet.bus(WHO) as bus:
        await operator.wait_answered()
        yield Fleet(bus, CLOCK, fleet.credentials[WHO]), bus


async def read(client: Fleet, type_: str = "*", since: int = 0) -> list[Event]:
    return [event async for event in client.events(type_, since, follow=False)]


def short(events: list[Event]) -> list[str]:
    return [event.type.removeprefix("dev.fleetbus.").removesuffix(".v1") for event in events]


async def test_it_reads_its_types_in_order_and_nothing_else(
    team: tuple[Fleet, NatsBus], bus: NatsBus
) -> None:
    client, _ = team
    await emit(bus, (MINE[0], OTHERS[0], MINE[1], OTHERS[1], MINE[2]) * 90, 1)
    found = await read(client)
    assert short(found) == list(MINE) * 90
    assert [one.sequence for one in found] == sorted({one.sequence for one in found})
    assert await read(client, since=found[100].sequence) == found[101:]
    assert set(short(await read(client, "bundle.*"))) == {MINE[0], MINE[2]}
    assert set(short(await read(client, "cluster.connected"))) == {MINE[1]}
    for pattern in ("secret.*", "secret.synced", "cluster.*"):
        with pytest.raises(NotPermitted):
            await read(client, pattern)
    with pytest.raises(Stale):
        await read(client, since=found[-1].sequence + 1000)


async def test_it_misses_nothing_and_sees_nothing_twice_over_reconnects(
    team: tuple[Fleet, NatsBus], bus: NatsBus
) -> None:
    client, own = team
    rounds = 30

    async def happen() -> None:
        for number in range(rounds):
            await emit(bus, (*MINE, *OTHERS), 1 + 5 * number)
            if number % 7 == 3:
                await own.reconnect()

    seen: list[Event] = []
    async with asyncio.timeout(40), aclosing(client.events("*", 0)) as events:
        happening = asyncio.create_task(happen())
        async for event in events:
            seen.append(event)
            if len(seen) == rounds * len(MINE):
                break
        await happening
    assert short(seen) == list(MINE) * rounds


async def test_an_operator_may_ask_for_events_too(
    team: tuple[Fleet, NatsBus], operator: Operator, bus: NatsBus
) -> None:
    await emit(bus, (*MINE, *OTHERS), 1)
    found = await operator.ask("events", {"type": "*"})
    assert len(found["rows"]) == 5
    assert found["newest"] == found["rows"][-1]["sequence"]
    page = await operator.ask("events", {"limit": 2, "after": found["rows"][0]["sequence"]})
    assert (page["rows"], page["more"]) == (found["rows"][1:3], True)
