"""One run from its seed: faults and a story for a while, then calm, and everything must come to where it is wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from tests.simulation import faults, weather
from tests.simulation.convergence import open_points
from tests.simulation.faults import Plan
from tests.simulation.fleet import SimulatedFleet
from tests.simulation.loop import VirtualLoop, simulate
from tests.simulation.operator import Operator
from tests.simulation.story import Story

CHAPTERS = 40
SETTLED_WITHIN_S = 3000.0
_LOOK_EVERY_S = 15.0
_LIMIT_S = 40_000.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed did. `problem` is empty when all was well."""

    seed: int
    virtual_s: float = 0.0
    steps: int = 0
    lives: int = 0
    events: int = 0
    settled_s: float = 0.0
    problem: str = ""


async def _live(fleet: SimulatedFleet, story: Story, chapters: int) -> None:
    fleet.start()
    blowing = asyncio.create_task(weather.blow(fleet))
    await story.begin()
    for _ in range(chapters):
        await fleet.clock.sleep(fleet.chance.random() ** 2 * 30.0)
        await story.act()
    blowing.cancel()
    await asyncio.wait([blowing])
    if not blowing.cancelled():
        blowing.result()


async def settle(fleet: SimulatedFleet, story: Story) -> float:
    """How long it took; AssertionError lists what is still open at the end."""
    fleet.calm()
    for member in fleet.members.values():
        await member.second.stop()
    began_s = fleet.clock.monotonic_s()
    await story.end()
    while points := list(open_points(fleet, story.wishes)):
        if fleet.clock.monotonic_s() - began_s > SETTLED_WITHIN_S:
            raise AssertionError("it does not settle:\n  " + "\n  ".join(points[:20]))
        await fleet.clock.sleep(_LOOK_EVERY_S)
        await story.release_all()
    return fleet.clock.monotonic_s() - began_s


def run(
    seed: int, plan: Plan | None = None, *, unfenced: frozenset[str] = frozenset(), chapters: int = CHAPTERS
) -> Run:
    """Live through one seed; `plan` takes the place of the seed's own."""

    async def scenario(loop: VirtualLoop, chance: Random) -> Run:
        drawn = faults.draw(chance)
        fleet = SimulatedFleet(loop, chance, plan or drawn, unfenced=unfenced)
        story = Story(fleet, Operator(fleet))
        try:
            await _live(fleet, story, chapters)
            settled_s = await settle(fleet, story)
        except BaseException as error:
            error.add_note("\n".join((str(plan or drawn), *story.told)))
            raise
        await fleet.stop()
        lives = sum(slot.lives for slot in fleet.slots)
        return Run(seed, loop.time(), loop.steps, lives, len(fleet.invariants.events), settled_s)

    return simulate(seed, scenario, limit_s=_LIMIT_S)
