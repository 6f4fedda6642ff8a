"""What an agent says of a message that it refused, until that message is gone. On virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Head
from fleetbus.schemas.states import Facts
from fleetbus.schemas.streams import DESIRED
from tests.bundles_stand import config_map
from tests.simulation.loop import VirtualLoop, simulate
from tests.simulation.test_agent_survives_faults import World


async def refused(world: World, wanted: Callable[[str], bool], limit_s: float = 600.0) -> str:
    """What the facts say is refused, once it is as wanted."""
    async with asyncio.timeout(limit_s):
        while True:
            state = await world.teller.state("facts")
            if state is not None and wanted(said := Facts.from_json(state.body).refused):
                return said
            await asyncio.sleep(1)


async def _taken_away(world: World, which: str) -> None:
    subject = getattr(subjects, which)(world.teller.identity.cluster)
    world.server.streams[DESIRED.name].purge(subject, world.clock.now())


async def _replaced(world: World, which: str) -> None:
    await world.teller.tell([])


async def _replaced_by_what_cannot_be_fetched(world: World, which: str) -> None:
    """It is accepted; that what it names is withheld is another trouble, which is said elsewhere."""
    teller, now = world.teller, world.clock.now()
    teller.serial += 1
    head = Head(
        fleet=teller.identity.fleet,
        cluster=teller.identity.uid,
        epoch=1,
        serial=teller.serial,
        issued_at=now,
        not_after=now + timedelta(days=1),
        set="f" * 64,
    )
    await teller.put_head(head)


@pytest.mark.parametrize(
    ("which", "then"),
    [
        ("desired", _taken_away),
        ("desired", _replaced),
        ("desired", _replaced_by_what_cannot_be_fetched),
        ("command", _taken_away),
    ],
)
def test_it_says_no_more_of_what_is_gone(which: str, then: Callable[[World, str], Awaitable[None]]) -> None:
    async def scenario(loop: VirtualLoop, chance: random.Random) -> tuple[str, str]:
        world = World(loop, chance, faulty=False)
        await world.teller.tell([])
        async with world.agent():
            subject = getattr(subjects, which)(world.teller.identity.cluster)
            await world.teller.bus.put(Put(subject, b"\xff forged"))
            said = await refused(world, bool)
            await then(world, which)
            return said, await refused(world, lambda one: not one)

    said, after = simulate(1, scenario, limit_s=100_000)
    assert "no envelope" in said
    assert after == ""


def test_a_stream_that_was_set_back_is_said_and_not_read_without_end() -> None:
    async def scenario(loop: VirtualLoop, chance: random.Random) -> tuple[str, dict[str, object]]:
        world = World(loop, chance, faulty=False)
        stream = world.server.streams[DESIRED.name]
        entry = await world.teller.entry("one", [config_map("one", "default", a="1")])
        await world.teller.tell([entry])
        first = stream.find(subjects.desired(world.teller.identity.cluster), world.clock.now())
        assert first is not None
        second = await world.teller.entry("one", [config_map("one", "default", a="2")])
        await world.teller.tell([second])
        async with world.agent():
            await world.until({"foreign": {"a": "theirs"}, "one": {"a": "2"}})
            # Its owner makes the stream anew, with an earlier word in it.
            await _taken_away(world, "desired")
            stream.last = 0
            await world.teller.bus.put(Put(first.subject, first.data))
            said = await refused(world, bool)
            return said, world.data()

    said, data = simulate(1, scenario, limit_s=100_000)
    assert "not newer" in said
    assert data["one"] == {"a": "2"}


def test_a_head_that_has_lapsed_is_said_and_the_configuration_stays() -> None:
    async def scenario(loop: VirtualLoop, chance: random.Random) -> tuple[str, dict[str, object]]:
        world = World(loop, chance, faulty=False)
        entry = await world.teller.entry("one", [config_map("one", "default", a="1")])
        await world.teller.tell([entry], not_after=world.clock.now() + timedelta(minutes=5))
        async with world.agent():
            await world.until({"foreign": {"a": "theirs"}, "one": {"a": "1"}})
            said = await refused(world, bool)
            return said, world.data()

    said, data = simulate(1, scenario, limit_s=100_000)
    assert "the configuration stays" in said
    assert data["one"] == {"a": "1"}
