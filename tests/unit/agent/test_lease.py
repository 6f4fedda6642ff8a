"""One Lease, one holder: on virtual time over the simulated cluster."""

from __future__ import annotations

import asyncio
import random

import pytest

from fleetbus.agent.keep import KubeKeep
from fleetbus.agent.lease import DURATION_S, GIVE_UP_AFTER_S, Lease
from fleetbus.agent.manifests import manifests
from fleetbus.runtime.loop import first
from fleetbus.schemas.errors import KubeConflict
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate


def cluster(loop: VirtualLoop, chance: random.Random) -> tuple[VirtualClock, SimulatedCluster, SimulatedKube]:
    clock = VirtualClock(loop, chance)
    made = SimulatedCluster(clock, seed=chance.getrandbits(32))
    for one in manifests("observe"):
        resource, metadata = made.kind(one["apiVersion"], one["kind"]), one["metadata"]
        made.put(resource, (metadata.get("namespace", ""), metadata["name"]), one, {})
    return clock, made, SimulatedKube(made)


async def second_waits(loop: VirtualLoop, chance: random.Random) -> None:
    clock, _, kube = cluster(loop, chance)
    one, two = Lease(kube, clock, "one"), Lease(kube, clock, "two")
    await one.acquire()
    waiting = asyncio.create_task(two.acquire())
    keeping = asyncio.create_task(one.keep())
    await clock.sleep(100)
    assert one.held
    assert not waiting.done()
    keeping.cancel()
    lost_at_s = clock.monotonic_s()
    await waiting
    assert clock.monotonic_s() - lost_at_s >= DURATION_S - 6
    assert not one.held


async def released_is_taken_at_once(loop: VirtualLoop, chance: random.Random) -> None:
    clock, _, kube = cluster(loop, chance)
    one, two = Lease(kube, clock, "one"), Lease(kube, clock, "two")
    await one.acquire()
    waiting = asyncio.create_task(two.acquire())
    await clock.sleep(3)
    released_at_s = clock.monotonic_s()
    await one.release()
    await waiting
    assert clock.monotonic_s() - released_at_s < 3


async def apiserver_away(loop: VirtualLoop, chance: random.Random) -> None:
    clock, made, kube = cluster(loop, chance)
    one = Lease(kube, clock, "one")
    await one.acquire()
    away_at_s = clock.monotonic_s()
    made.set_away(True)
    await one.keep()
    assert clock.monotonic_s() - away_at_s <= GIVE_UP_AFTER_S + 1
    again = asyncio.create_task(one.acquire())
    await clock.sleep(30)
    assert not again.done()
    made.set_away(False)
    await again
    assert one.held


async def overtaken_keep(loop: VirtualLoop, chance: random.Random) -> None:
    _, _, kube = cluster(loop, chance)
    old, new = KubeKeep(kube, "old"), KubeKeep(kube, "new")
    await old.load()
    await old.keep({"a": {"n": 1}})
    await new.load()
    assert new.kept("a") == {"n": 1}
    with pytest.raises(KubeConflict):
        await old.keep({"a": {"n": 2}})
    await asyncio.gather(*(new.keep({f"k{n}": {"n": n}}) for n in range(10)))
    await new.keep({"a": None})
    fresh = KubeKeep(kube, "fresh")
    await fresh.load()
    assert fresh.kept("a") is None
    assert [fresh.kept(f"k{n}") for n in range(10)] == [{"n": n} for n in range(10)]


async def first_cancels_the_others(loop: VirtualLoop, chance: random.Random) -> None:
    ended: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append(name)

    await first(work("a", 1), work("b", 100))
    assert sorted(ended) == ["a", "b"]
    assert loop.time() < 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "scenario",
    [second_waits, released_is_taken_at_once, apiserver_away, overtaken_keep, first_cancels_the_others],
)
def test_scenarios(scenario, seed: int) -> None:  # type: ignore[no-untyped-def]
    simulate(seed, scenario)
