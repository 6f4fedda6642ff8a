"""A command that no list holds any more costs an agent no more work than one that is listed. On virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fleetbus.agent.capabilities import commands
from fleetbus.agent.capabilities.commands import journal as journals
from fleetbus.agent.capabilities.commands.drivers.rehearsal import NAMESPACE
from fleetbus.schemas.desired import Command
from fleetbus.schemas.states import RESULT_ASPECT, Results
from tests.agent_ports import MemoryKeep, Side, ports
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate

STEP_S = 10.0
FOR_S = 300.0
COMMAND = Command(
    id="a",
    driver="rehearsal",
    arguments={"outcome": "hangs", "steps": 3, "stepS": STEP_S},
    issued_at=START,
    deadline=START.replace(year=START.year + 1),
    issued_by="somebody",
)


class Counted(Side):
    """How often it has looked."""

    passes = 0

    async def _step(self) -> float | None:
        self.passes += 1
        return await super()._step()


async def _passes(loop: VirtualLoop, chance: random.Random, content: Any, seen: bool) -> tuple[int, str]:
    """After the agent has died behind the effect: with `seen`, its journal knows of it."""
    clock = VirtualClock(loop, chance)
    cluster = SimulatedCluster(clock, seed=1)
    namespace = {"metadata": {"name": NAMESPACE}}
    cluster.put(cluster.kind("v1", "Namespace"), ("", NAMESPACE), namespace, {})
    keep, kube = MemoryKeep(), SimulatedKube(cluster, seed=1)
    given = ports(kube, keep=keep, clock=clock)
    first = Side(commands.CAPABILITY, given)
    first.tell({"commands": [COMMAND.as_json()]})
    async with first:
        await first.live(1.0)
    if not seen:
        entry = journals.started(COMMAND, clock.now())
        await keep.keep({journals.KEY: journals.as_json({entry.id: entry})})
    second = Counted(commands.CAPABILITY, given)
    second.tell(content)
    async with second:
        await second.live(FOR_S)
    result = Results.from_json(second.bodies[RESULT_ASPECT]).commands[0]
    return second.passes, result.phase


@pytest.mark.parametrize("seen", [True, False], ids=["effect journaled", "effect not journaled"])
@pytest.mark.parametrize("content", [None, {"commands": []}], ids=["no list is known", "it left the list"])
def test_it_is_looked_at_as_often_as_its_steps_ask(content: Any, seen: bool) -> None:
    passes, phase = simulate(1, lambda loop, chance: _passes(loop, chance, content, seen), limit_s=10_000)
    assert phase == "Running"
    assert passes <= FOR_S / STEP_S * 2
