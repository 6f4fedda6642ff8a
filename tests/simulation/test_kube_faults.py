"""A simulated cluster that fails in every way: who follows it by watching ends with what is there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import Transient
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
FAULTS = KubeFaults(refused=0.1, lost=0.1, conflicts=0.1, cuts=0.2, late_s=2.0)

State = dict[str, str]


async def _scenario(loop: VirtualLoop, chance: random.Random) -> tuple[State, State, list[str]]:
    clock = VirtualClock(loop, chance)
    cluster = SimulatedCluster(clock, seed=chance.getrandbits(32))
    writer = SimulatedKube(cluster, faults=FAULTS, seed=chance.getrandbits(32))
    reader = SimulatedKube(cluster, faults=FAULTS, seed=chance.getrandbits(32))
    seen: State = {}
    order: list[str] = []

    async def follow() -> None:
        async for event in reader.watch(CONFIG_MAP, label_selector="app=shop"):
            if event.type == "SYNCED":
                continue
            metadata = event.object["metadata"]
            order.append(f"{event.type} {metadata['name']}")
            if event.type == "DELETED":
                seen.pop(metadata["name"], None)
            else:
                seen[metadata["name"]] = metadata["uid"]

    task = asyncio.create_task(follow())
    for step in range(60):
        cluster.set_away(step % 20 == 19)
        with contextlib.suppress(Transient):
            await _change(writer, chance)
        await clock.sleep(chance.random())
    cluster.set_away(False)
    await clock.sleep(120)
    task.cancel()
    there = {
        key[1]: stored.object["metadata"]["uid"]
        for key, stored in cluster.objects(CONFIG_MAP).items()
        if stored.object["metadata"].get("labels") == {"app": "shop"}
    }
    return seen, there, order


async def _change(kube: SimulatedKube, chance: random.Random) -> None:
    name = chance.choice("abcdef")
    if chance.random() < 0.3:
        await kube.delete(CONFIG_MAP, "default", name)
        return
    labels = {"app": chance.choice(["shop", "other"])}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap"}
    body |= {"metadata": {"name": name, "labels": labels}, "data": {"v": str(chance.random())}}
    await kube.apply(CONFIG_MAP, "default", name, body, field_manager="one", force=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_watch_ends_with_what_is_there(seed: int) -> None:
    seen, there, order = simulate(seed, _scenario)
    assert seen == there
    assert order


def test_a_seed_replays() -> None:
    assert simulate(7, _scenario) == simulate(7, _scenario)
