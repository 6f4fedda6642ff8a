"""Each command takes effect once, in list order, through crashes at any await and an API server with every fault."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import pytest

from fleetbus.agent.capabilities import commands
from fleetbus.agent.capabilities.commands.drivers.rehearsal import CONFIG_MAP, NAMESPACE, map_name
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import KubeUnavailable
from fleetbus.schemas.states import FINISHED, RESULT_ASPECT, Results
from tests.agent_ports import MemoryKeep, Side, ports
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

FAULTS = KubeFaults(refused=0.08, lost=0.08, conflicts=0.05, cuts=0.2, late_s=1.0)
OUTCOMES = ("succeeds", "fails", "hangs", "dies")
EXPECTED = {
    "succeeds": "Succeeded",
    "fails": "Failed",
    "hangs": "Cancelled",
    "dies": "Succeeded",
    "late": "Expired",
}


class Died(BaseException):
    """The agent's process ends here."""


def die() -> NoReturn:
    raise Died


class FaultyKeep(MemoryKeep):
    """Takes its time, and now and then the write or only its answer is lost."""

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        super().__init__()
        self._clock, self._chance = clock, chance

    async def keep(self, values: Mapping[str, Mapping[str, Any] | None]) -> None:
        await self._clock.sleep(0.002)
        if self._chance.random() < 0.05:
            raise KubeUnavailable("refused")
        await super().keep(values)
        await self._clock.sleep(0.002)
        if self._chance.random() < 0.05:
            raise KubeUnavailable("the answer was lost")


class Fleet:
    """One cluster with its list of commands and an agent that keeps crashing."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.clock = VirtualClock(loop, chance)
        self.chance = chance
        self.cluster = SimulatedCluster(self.clock, seed=chance.getrandbits(32))
        namespaces = self.cluster.kind("v1", "Namespace")
        self.cluster.put(namespaces, ("", NAMESPACE), {"metadata": {"name": NAMESPACE}}, {})
        self.keep = FaultyKeep(self.clock, chance)
        self.capability = replace(commands.CAPABILITY, start=partial(commands.start, die=die))
        self.told = [self.command(f"c{number}") for number in range(6)]
        self.seen: dict[str, str] = {}
        self.regressions: list[str] = []

    def command(self, id_: str) -> Command:
        kind = self.chance.choice((*OUTCOMES, "late"))
        now = self.clock.now()
        return Command(
            id=id_,
            driver="rehearsal",
            arguments={"outcome": "succeeds" if kind == "late" else kind, "steps": 3, "stepS": 0.2},
            issued_at=now,
            deadline=now + timedelta(seconds=-1 if kind == "late" else 3000),
            issued_by=kind,
        )

    async def live_once(self, for_s: float) -> None:
        """One agent's life: until its time is over or it dies."""
        kube = SimulatedKube(self.cluster, faults=FAULTS, seed=self.chance.getrandbits(32))
        side = Side(self.capability, ports(kube, keep=self.keep, clock=self.clock))
        side.tell({"commands": [command.as_json() for command in self.told]})
        with contextlib.suppress(Died):
            async with side:
                await side.live(for_s)
        self.note(side)

    def note(self, side: Side) -> None:
        """What was reported last; what has ended never says anything else again."""
        for result in Results.from_json(side.bodies.get(RESULT_ASPECT, {})).commands:
            before = self.seen.get(result.id)
            if before in FINISHED and before != result.phase:
                self.regressions.append(f"{result.id}: {before} → {result.phase}")
            self.seen[result.id] = result.phase

    def cancel_running_hang(self) -> None:
        """The operator cancels what hangs once it is seen to run."""
        self.told = [
            command.model_copy(update={"cancelled": True})
            if command.issued_by == "hangs" and self.seen.get(command.id) == "Running"
            else command
            for command in self.told
        ]

    def effects(self) -> list[str]:
        return [
            change.key[1]
            for change in self.cluster.history
            if change.type == "ADDED" and change.kind == ("", CONFIG_MAP.plural)
        ]


async def _scenario(loop: VirtualLoop, chance: random.Random) -> Fleet:
    fleet = Fleet(loop, chance)
    for _ in range(60):
        await fleet.live_once(chance.random() * chance.choice((0.1, 1.0, 5.0)))
        fleet.cancel_running_hang()
    for _ in range(40):
        await fleet.live_once(20.0)
        fleet.cancel_running_hang()
    return fleet


@pytest.mark.parametrize("seed", range(40))
def test_once_in_effect_in_order_whatever_crashes(seed: int) -> None:
    fleet = simulate(seed, _scenario, limit_s=100_000)
    told = {command.id: command for command in fleet.told}
    phases = {id_: fleet.seen.get(id_) for id_ in told}
    assert phases == {id_: EXPECTED[command.issued_by] for id_, command in told.items()}
    assert fleet.regressions == []
    effects = fleet.effects()
    ordered = [map_name(id_) for id_, command in told.items() if command.issued_by != "late"]
    assert effects == [name for name in ordered if name in effects]
    never = {map_name(id_) for id_, command in told.items() if command.issued_by == "hangs"}
    # One that is cancelled after its journal entry and before its effect never takes effect.
    assert set(ordered) - set(effects) <= never
