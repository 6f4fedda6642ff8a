"""Whole agents on a virtual clock: through faults and crashes the cluster ends as told, nothing foreign touched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from fleetbus.agent.capabilities.bundles import CAPABILITY
from fleetbus.agent.main import run_agent
from fleetbus.agent.manifests import manifests
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundlesState
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.states import Facts
from fleetbus.schemas.streams import EVENTS, agent_permissions
from tests.bundles_stand import config_map
from tests.simulation.bus import BusFaults, SimulatedBus, SimulatedServer
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate
from tests.teller import Teller, identity

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
BUS_FAULTS = BusFaults(
    nudges_lost=0.3, nudges_late=0.3, nudges_doubled=0.2, unacknowledged=0.05, lagging=0.2, cuts=0.02
)
KUBE_FAULTS = KubeFaults(refused=0.05, lost=0.05, conflicts=0.02, cuts=0.1, late_s=0.5)


class World:
    """One cluster, one bus, a teller, and agents that come and go."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, *, faulty: bool = True) -> None:
        self.clock = VirtualClock(loop, chance)
        self.chance = chance
        self.faulty = faulty
        self.cluster = SimulatedCluster(self.clock, seed=chance.getrandbits(32))
        for one in manifests("full"):
            metadata = one["metadata"]
            resource = self.cluster.kind(one["apiVersion"], one["kind"])
            self.cluster.put(resource, (metadata.get("namespace", ""), metadata["name"]), one, {})
        kube_system = self.cluster.find(self.cluster.kind("v1", "Namespace"), ("", "kube-system"))
        self.server = SimulatedServer(self.clock, chance)
        controller = self.server.bus("controller")
        self.teller = Teller(controller, self.clock, identity(kube_system.object["metadata"]["uid"]))
        self.cluster.put(CONFIG_MAP, ("default", "foreign"), config_map("foreign", "default", a="theirs"), {})

    def break_things(self) -> None:
        self.server.faults = BUS_FAULTS if self.faulty else BusFaults()

    def mend_things(self) -> None:
        self.server.faults = BusFaults()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[asyncio.Task[None]]:
        who = self.teller.identity.cluster
        bus: SimulatedBus = self.server.bus("agent", agent_permissions(who), account="AGENTS_main")
        faults = KUBE_FAULTS if self.faulty else KubeFaults()
        kube = SimulatedKube(self.cluster, faults=faults, seed=self.chance.getrandbits(32))
        holder = self.clock.identifier()
        running = run_agent(
            self.teller.settings(), bus, kube, None, self.clock, holder, catalogue=(CAPABILITY,)
        )
        task = asyncio.create_task(running, name=f"agent {holder}")
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def data(self) -> dict[str, Any]:
        found = self.cluster.objects(CONFIG_MAP)
        return {
            name: stored.object.get("data", {})
            for (namespace, name), stored in found.items()
            if namespace == "default"
        }

    async def until(self, wanted: dict[str, Any], limit_s: float = 400.0) -> None:
        end = self.clock.monotonic_s() + limit_s
        while self.data() != wanted:
            assert self.clock.monotonic_s() < end, (self.data(), wanted)
            await asyncio.sleep(0.5)

    async def until_reported(self, entries: list[BundleEntry], limit_s: float = 400.0) -> None:
        """Until the newest states say that these bundles, and no others, are applied and healthy."""
        end = self.clock.monotonic_s() + limit_s
        wanted = {entry.id: (entry.artifact, "True") for entry in entries}
        while True:
            found = {}
            for number in range(8):
                state = await self.teller.state(f"bundles-{number}")
                for one in BundlesState.from_json(state.body).bundles if state else ():
                    if not one.removed:
                        found[one.id] = (one.artifact, one.conditions[-1].status)
            if found == wanted:
                return
            assert self.clock.monotonic_s() < end, (found, wanted)
            await asyncio.sleep(0.5)


async def converge(loop: VirtualLoop, chance: random.Random) -> None:
    world = World(loop, chance)
    teller = world.teller
    told: dict[str, list[dict[str, Any]]] = {}
    retired: list[Retired] = []
    entries: list[BundleEntry] = []
    async with asyncio.TaskGroup() as group:

        async def agents() -> None:
            """One agent after the other, each killed at any moment."""
            for _ in range(4):
                async with world.agent():
                    await asyncio.sleep(chance.uniform(0.0, 60.0))

        killing = group.create_task(agents())
        world.break_things()
        for round_ in range(8):
            name = chance.choice(["one", "two", "three"])
            count = chance.randint(6, 9)
            # Prunes within the brake: up to five leave, never all.
            told[name] = [config_map(f"{name}-{n}", "default", round=str(round_)) for n in range(count)]
            retired = [one for one in retired if one.name != name]
            if chance.random() < 0.2 and len(told) > 1:
                gone = chance.choice(sorted(set(told) - {name}))
                del told[gone]
                retired.append(
                    Retired(capability="bundles", id=f"id-{gone}", name=gone, policy="Remove", count=None)
                )
            world.server.faults = BusFaults()
            entries = [await teller.entry(one, objects) for one, objects in sorted(told.items())]
            await teller.tell(entries, retired=retired)
            world.break_things()
            await asyncio.sleep(chance.uniform(0.0, 30.0))
        await killing
    world.mend_things()
    wanted = {one["metadata"]["name"]: one["data"] for objects in told.values() for one in objects}
    async with world.agent():
        await world.until({"foreign": {"a": "theirs"}, **wanted})
        await world.until_reported(entries)
        facts = await teller.state("facts")
        assert facts is not None
        assert Facts.from_json(facts.body).accepted == (1, teller.serial)


@pytest.mark.parametrize("seed", range(12))
def test_the_cluster_ends_as_it_was_told(seed: int) -> None:
    simulate(seed, converge, limit_s=7200)


async def two_agents(loop: VirtualLoop, chance: random.Random) -> None:
    world = World(loop, chance, faulty=False)
    teller = world.teller
    async with world.agent(), world.agent():
        for round_ in range(5):
            objects = [config_map(f"a{n}", "default", round=str(round_)) for n in range(3)]
            entries = [await teller.entry("app", objects)]
            await teller.tell(entries)
            await world.until(
                {"foreign": {"a": "theirs"}, **{one["metadata"]["name"]: one["data"] for one in objects}}
            )
            await asyncio.sleep(chance.uniform(0, 20))
        first = await teller.state("session")
        assert first is not None
        await asyncio.sleep(120)
        second = await teller.state("session")
        assert second is not None
        assert first.body["holder"] == second.body["holder"]


@pytest.mark.parametrize("seed", range(3))
def test_two_agents_of_one_cluster_never_act_at_once(seed: int) -> None:
    simulate(seed, two_agents)


async def events(loop: VirtualLoop, chance: random.Random) -> None:
    world = World(loop, chance)
    teller = world.teller
    revisions: list[str] = []
    stop = asyncio.Event()

    async def emitter() -> None:
        while not stop.is_set():
            await asyncio.sleep(chance.uniform(0.5, 8.0))
            faults, world.server.faults = world.server.faults, BusFaults()
            await teller.emit()
            world.server.faults = faults

    async with asyncio.TaskGroup() as group:
        group.create_task(emitter())
        world.break_things()
        for round_ in range(10):
            async with world.agent():
                objects = [config_map("a", "default", round=str(round_))]
                world.server.faults = BusFaults()
                entry = await teller.entry("app", objects)
                await teller.tell([entry])
                world.break_things()
                await world.until({"foreign": {"a": "theirs"}, "a": {"round": str(round_)}})
                world.mend_things()
                await world.until_reported([entry])
                revisions.append(entry.artifact)
                await asyncio.sleep(chance.uniform(0.0, 15.0))
        stop.set()
    await teller.emit()
    chain = await teller.bus.get_many(EVENTS.name, "fleet.v1.event.main.c1.>", limit=1000)
    seen = [CloudEvent.from_bytes(one.data) for one in chain]
    applied = [one.data["artifact"] for one in seen if one.short_type == "bundle.applied"]
    assert applied == revisions
    assert len({one.id for one in seen}) == len(seen)


@pytest.mark.parametrize("seed", range(5))
def test_every_change_is_told_once(seed: int) -> None:
    simulate(seed, events, limit_s=7200)


async def cut_off_replica(loop: VirtualLoop, chance: random.Random) -> None:
    """A server that is cut off answers with old values for ever; only a write that nobody stores shows it."""
    world = World(loop, chance, faulty=False)
    teller = world.teller
    async with world.agent():
        entry = await teller.entry("app", [config_map("a", "default", round="0")])
        await teller.tell([entry])
        await world.until_reported([entry])
        world.server.freeze(world.server.buses[-1])
        await asyncio.sleep(1)
        entry = await teller.entry("app", [config_map("a", "default", round="1")])
        await teller.tell([entry])
        await world.until({"foreign": {"a": "theirs"}, "a": {"round": "1"}}, limit_s=100)
        await world.until_reported([entry])


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_off_replica_is_left(seed: int) -> None:
    simulate(seed, cut_off_replica)


async def apiserver_away(loop: VirtualLoop, chance: random.Random) -> None:
    world = World(loop, chance, faulty=False)
    teller = world.teller
    async with world.agent():
        entry = await teller.entry("app", [config_map("a", "default", round="0")])
        await teller.tell([entry])
        await world.until_reported([entry])
        world.cluster.set_away(True)
        entry = await teller.entry("app", [config_map("a", "default", round="1")])
        await teller.tell([entry])
        await asyncio.sleep(chance.uniform(1, 200))
        world.cluster.put(CONFIG_MAP, ("default", "b"), config_map("b", "default"), {})
        world.cluster.set_away(False)
        await world.until({"foreign": {"a": "theirs"}, "a": {"round": "1"}, "b": {}}, limit_s=60)
        await world.until_reported([entry])


@pytest.mark.parametrize("seed", range(4))
def test_an_apiserver_that_was_away_is_caught_up_with(seed: int) -> None:
    simulate(seed, apiserver_away)
