"""Bindings end in step, revoked ones gone with a receipt, foreign Secrets untouched, through crashes and faults."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest

from fleetbus.agent.capabilities.secrets import CAPABILITY
from fleetbus.agent.capabilities.secrets.observe import SECRET
from fleetbus.schemas.capabilities.secrets import ASPECT, SecretEntry, SecretsSection, SecretsState
from fleetbus.schemas.desired import Retired
from tests.agent_ports import MemoryKeep, Side, ports
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate
from tests.simulation.vault import SimulatedVault, SimulatedVaultServer

FAULTS = KubeFaults(refused=0.1, lost=0.1, conflicts=0.05, cuts=0.2, late_s=1.0)
NAMES = ("b0", "b1", "b2", "b3")
FOREIGN = {"a": base64.b64encode(b"theirs").decode()}


class World:
    """One cluster, its Vault, and somebody who changes what is told, what Vault has, and Secrets by hand."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.clock = VirtualClock(loop, chance)
        self.chance = chance
        self.cluster = SimulatedCluster(self.clock, seed=chance.getrandbits(32))
        self.server = SimulatedVaultServer()
        self.server.allow("c1", "main/c1/")
        self.keep = MemoryKeep()
        self.told = {name: self.entry(name, 1) for name in NAMES}
        self.retired: dict[str, Retired] = {}
        self.newest: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        for name in NAMES:
            self.write(name)
        body = {"metadata": {"name": "foreign"}, "data": FOREIGN}
        self.cluster.put(SECRET, ("default", "foreign"), body, {})

    def entry(self, name: str, generation: int, *, revoked: bool = False, secret: str = "") -> SecretEntry:
        return SecretEntry(
            id=f"id-{name}",
            name=name,
            generation=generation,
            path=f"main/c1/{name}",
            namespace="default",
            secret=secret or name,
            refresh_s=5.0,
            revoked=revoked,
        )

    def write(self, name: str) -> None:
        self.newest[name] = str(self.chance.random())
        self.server.put(f"main/c1/{name}", {"value": self.newest[name]})

    def meddle(self) -> None:
        name = self.chance.choice(NAMES)
        key = ("default", self.told[name].secret if name in self.told else name)
        match self.chance.randrange(8):
            case 0:
                self.write(name)
            case 1 if key in self.cluster.objects(SECRET):
                self.cluster.remove(SECRET, key)
            case 2 if key in self.cluster.objects(SECRET):
                found = self.cluster.objects(SECRET)[key]
                changed = {**found.object, "data": {"value": "bWluZQ=="}}
                changed["metadata"] = {**changed["metadata"], "resourceVersion": ""}
                self.cluster.put(SECRET, key, changed, {**found.owners, ("kubectl", "Update"): frozenset()})
            case 3:
                self.server.sealed = not self.server.sealed
            case 4:
                self.cluster.set_away(not self.cluster.away)
            case 5 if name in self.told:
                before = self.told[name]
                place = self.chance.choice((name, f"{name}-moved"))
                self.told[name] = self.entry(name, before.generation + 1, secret=place)
            case _:
                pass

    def settle(self) -> None:
        """The end: one foreign target, one revoked, one retired, one that is just bound."""
        self.server.sealed = False
        self.cluster.set_away(False)
        last = {name: self.told[name].generation + 1 for name in NAMES}
        self.told = {
            "b0": self.entry("b0", last["b0"], secret="foreign"),
            "b1": self.entry("b1", last["b1"], revoked=True),
            "b3": self.entry("b3", last["b3"]),
        }
        self.retired = {"b2": Retired(capability="secrets", id="id-b2", name="b2", policy="Remove")}

    async def live_once(self, for_s: float, *, vault_fails: float = 0.1) -> None:
        kube = SimulatedKube(self.cluster, faults=FAULTS, seed=self.chance.getrandbits(32))
        seed = self.chance.getrandbits(32)
        vault = SimulatedVault(self.server, "c1", self.clock, unavailable=vault_fails, seed=seed)
        side = Side(CAPABILITY, ports(kube, vault=vault, keep=self.keep, clock=self.clock))
        section = SecretsSection(secrets=tuple(self.told.values())).as_json()
        side.tell(section, *self.retired.values())
        async with side:
            await side.live(for_s)
        self.body = dict(side.bodies.get(ASPECT, {}))


async def _scenario(loop: VirtualLoop, chance: random.Random) -> World:
    world = World(loop, chance)
    for _ in range(50):
        await world.live_once(chance.random() * chance.choice((0.05, 1.0, 10.0)))
        world.meddle()
    world.settle()
    for _ in range(4):
        await world.live_once(chance.random())
    await world.live_once(300.0, vault_fails=0.0)
    return world


@pytest.mark.parametrize("seed", range(20))
def test_in_step_at_the_end_whatever_happened(seed: int) -> None:
    world = simulate(seed, _scenario, limit_s=100_000)
    found = {key[1]: stored.object["data"] for key, stored in world.cluster.objects(SECRET).items()}
    value = base64.b64encode(world.newest["b3"].encode()).decode()
    states = {state.name: state for state in SecretsState.from_json(world.body).secrets}
    assert found.pop("foreign") == FOREIGN
    assert found.pop("b3") == {"value": value}
    # The first binding's own Secret stays where it was: its new place is taken by somebody else.
    assert set(found) <= {"b0", "b0-moved"}
    assert states["b0"].condition.reason == "SecretNotOurs"
    assert (states["b1"].removed, states["b2"].removed) == (True, True)
    assert states["b1"].confirmed_at
    assert states["b3"].condition.status == "True"
