"""Who loses the term takes the next one when it can, and ends only when it is cancelled. On virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fleetbus.controller.leader import LEASE_S, Leader, Term
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
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


def test_a_server_that_answers_no_write_is_left_for_another() -> None:
    """As one does that is cut off from the others of its cluster."""

    async def scenario(loop: VirtualLoop, chance: Random) -> bool:
        clock = VirtualClock(loop, chance)
        server = SimulatedServer(clock, chance)
        bus = server.bus("controller")
        server.freeze(bus)
        leader = Leader(bus, clock, holder="one", epoch=1)
        began = asyncio.Event()

        async def under(term: Term) -> None:
            began.set()
            await clock.sleep(1000)

        leading = asyncio.create_task(leader.lead(under))
        async with asyncio.timeout(120):
            await began.wait()
        leading.cancel()
        await asyncio.wait([leading])
        return began.is_set()

    assert simulate(1, scenario)


@pytest.mark.parametrize(
    "lease", [b"\xff", b'{"holder":"nobody","claim":"x"}'], ids=["bytes", "of somebody who never lets go"]
)
def test_a_lease_that_nobody_renews_keeps_nobody_from_leading(lease: bytes) -> None:
    """Whoever owns the bus can put one there that has no end."""

    async def scenario(loop: VirtualLoop, chance: Random) -> int:
        clock = VirtualClock(loop, chance)
        bus = SimulatedServer(clock, chance).bus("controller")
        await bus.put(Put(subjects.LEASE, lease))
        await bus.put(Put(subjects.TERM, b"\xff"))
        leader = Leader(bus, clock, holder="one", epoch=1)
        began: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def under(term: Term) -> None:
            began.set_result(term.number)
            await asyncio.Event().wait()

        leading = asyncio.create_task(leader.lead(under))
        async with asyncio.timeout(LEASE_S * 4):
            number = await began
        leading.cancel()
        await asyncio.wait([leading])
        return number

    assert simulate(1, scenario) == 1


def test_a_lease_that_is_renewed_is_left_to_its_holder() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[str]:
        clock = VirtualClock(loop, chance)
        server, led = SimulatedServer(clock, chance), list[str]()

        async def lead(holder: str) -> None:
            async def under(term: Term) -> None:
                led.append(holder)
                await asyncio.Event().wait()

            await Leader(server.bus(holder), clock, holder=holder, epoch=1).lead(under)

        leading = [asyncio.create_task(lead(holder)) for holder in ("one", "two")]
        await clock.sleep(LEASE_S * 20)
        for task in leading:
            task.cancel()
        await asyncio.wait(leading)
        return led

    assert len(simulate(1, scenario)) == 1
