"""Who loses the term takes the next one when it can, and ends only when it is cancelled. On virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fleetbus.controller.leader import Leader, Term
from fleetbus.schemas.errors import SequenceConflict
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_term_is_followed_by_another_until_it_is_cancelled(seed: int) -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[int], bool]:
        clock = VirtualClock(loop, chance)
        bus = SimulatedServer(clock, chance).bus("controller")
        leader = Leader(bus, clock, holder="one", epoch=1)
        terms: list[int] = []

        async def fail() -> None:
            await clock.sleep(3)
            raise SequenceConflict("the term is another controller's")

        async def under(term: Term) -> None:
            terms.append(term.number)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
                tasks.create_task(clock.sleep(1000))

        leading = asyncio.create_task(leader.lead(under))
        while len(terms) < 3:
            await clock.sleep(1)
        leading.cancel()
        await asyncio.wait([leading])
        return terms, leading.cancelled()

    assert simulate(seed, scenario) == ([1, 2, 3], True)
