"""What holds of `Kube.watch`, on a real API server and on the simulated one alike."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from fleetbus.runtime.ports import Kube, Resource
from tests.suites.kube.world import (
    CONFIG_MAP,
    CRD,
    Widgets,
    World,
    brief,
    config_map,
    definition,
    put,
    served,
    until,
)


async def test_a_watch_gives_what_is_there_then_every_change(kube: Kube, kube_world: World) -> None:
    await put(kube, kube_world, config_map("a", {"app": "shop"}, value="1"))
    await put(kube, kube_world, config_map("b", {"app": "other"}, value="1"))
    stream = kube.watch(CONFIG_MAP, namespace=kube_world.namespace, label_selector="app=shop")
    async with aclosing(stream) as events:
        assert brief(await until(events, "SYNCED")) == ["ADDED a", "SYNCED"]
        await put(kube, kube_world, config_map("c", {"app": "shop"}, value="1"))
        await put(kube, kube_world, config_map("a", {"app": "shop"}, value="2"))
        await put(kube, kube_world, config_map("c", {"app": "none"}, value="1"))
        await kube.delete(CONFIG_MAP, kube_world.namespace, "a")
        seen = await until(events, "DELETED a")
    assert brief(seen) == ["ADDED c", "MODIFIED a", "DELETED c", "DELETED a"]
    for event in seen:
        assert set(event.object) == {"apiVersion", "kind", "metadata"}
        assert event.object["kind"] == "ConfigMap"
        assert event.object["metadata"]["uid"]


async def test_a_watch_gives_whole_objects_when_asked(kube: Kube, kube_world: World) -> None:
    await put(kube, kube_world, config_map("a", {"app": "shop"}, value="1"))
    stream = kube.watch(
        CONFIG_MAP, namespace=kube_world.namespace, label_selector="app=shop", metadata_only=False
    )
    async with aclosing(stream) as events:
        seen = await until(events, "SYNCED")
        assert seen[0].object["data"] == {"value": "1"}


async def test_a_watch_of_a_kind_that_is_not_served_waits_for_it(kube: Kube, kube_world: World) -> None:
    async with Widgets(kube, kube_world, make=False) as (api_version, name):
        resource = Resource(api_version.split("/")[0], "v1", "widgets", "Widget", True)
        stream = kube.watch(resource, namespace=kube_world.namespace)
        async with aclosing(stream) as events:
            assert brief(await until(events, "SYNCED")) == ["SYNCED"]
            await kube.create(CRD, "", definition(name))
            await served(kube, api_version)
            body = {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": "one"}, "spec": {}}
            await kube.apply(resource, kube_world.namespace, "one", body, field_manager="one")
            assert "ADDED one" in brief(await until(events, "ADDED one"))


async def test_a_watch_ends_when_it_is_cancelled(kube: Kube, kube_world: World) -> None:
    synced = asyncio.Event()

    async def follow() -> None:
        async for event in kube.watch(CONFIG_MAP, namespace=kube_world.namespace):
            if event.type == "SYNCED":
                synced.set()

    task = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        await synced.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
