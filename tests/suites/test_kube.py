"""What holds of the port `Kube`, on a real API server and on the simulated one alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import pytest
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock, wait_until
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import Kube, KubeEvent, Resource
from fleetbus.schemas.errors import (
    AlreadyExists,
    ApplyRefused,
    FleetbusError,
    KubeConflict,
    NotFound,
)

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
SECRET = Resource("", "v1", "secrets", "Secret", True)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", False)
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment", True)
CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)

CLOCK = SystemClock()
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """A cluster with a namespace for the test alone; `access` is None on the simulated one."""

    namespace: str
    access: KubeAccess | None


@pytest.fixture(params=["simulated", "real"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "simulated":
        return World("default", None)
    control_plane = cast("ControlPlane", request.getfixturevalue("control_plane"))
    namespace = cast("str", request.getfixturevalue("namespace"))
    return World(namespace, KubeAccess.from_kubeconfig(control_plane.kubeconfig))


@pytest.fixture
async def kube(world: World) -> AsyncIterator[Kube]:
    if world.access is None:
        yield SimulatedKube(SimulatedCluster(CLOCK))
        return
    async with KubeClient(world.access, CLOCK) as client:
        yield client


def config_map(name: str, labels: dict[str, str] | None = None, **values: Any) -> Object:
    metadata: Object = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": values}


async def put(kube: Kube, world: World, body: Object, manager: str = "one", *, force: bool = False) -> Object:
    name = body["metadata"]["name"]
    return await kube.apply(CONFIG_MAP, world.namespace, name, body, field_manager=manager, force=force)


async def test_an_apply_creates_then_changes_and_then_changes_nothing(kube: Kube, world: World) -> None:
    made = await put(kube, world, config_map("settings", a="1"))
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"a": "1"})
    changed = await put(kube, world, config_map("settings", a="2"))
    again = await put(kube, world, config_map("settings", a="2"))
    versions = [found["metadata"]["resourceVersion"] for found in (made, changed, again)]
    assert versions[0] != versions[1] == versions[2]
    assert made["metadata"]["uid"] == again["metadata"]["uid"]


async def test_bytes_are_applied_as_they_are(kube: Kube, world: World) -> None:
    body = '{"apiVersion":"v1","data":{"e":"é"},"kind":"ConfigMap","metadata":{"name":"raw"}}'.encode()
    made = await kube.apply(CONFIG_MAP, world.namespace, "raw", body, field_manager="one")
    assert made["data"] == {"e": "é"}


async def test_what_is_no_longer_applied_is_removed_unless_another_owns_it(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("settings", a="1", b="1", c="1"))
    await put(kube, world, config_map("settings", b="1"), "two")
    found = await put(kube, world, config_map("settings", c="1"))
    assert found["data"] == {"b": "1", "c": "1"}


async def test_a_conflict_names_field_and_manager_and_force_takes_the_field(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("settings", secretly="first"))
    with pytest.raises(KubeConflict) as conflict:
        await put(kube, world, config_map("settings", secretly="second"), "two")
    assert ".data.secretly (one)" in conflict.value.message
    assert "first" not in conflict.value.message
    found = await put(kube, world, config_map("settings", secretly="second"), "two", force=True)
    assert found["data"] == {"secretly": "second"}
    owners = {
        entry["manager"]
        for entry in found["metadata"]["managedFields"]
        if "f:secretly" in entry["fieldsV1"].get("f:data", {})
    }
    assert owners == {"two"}


async def test_a_value_that_others_own_can_be_shared(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("settings", a="1"))
    found = await put(kube, world, config_map("settings", a="1"), "two")
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"one", "two"}


async def test_a_patch_takes_the_fields_that_it_changes(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("settings", a="1", b="1"))
    patched = await kube.merge_patch(
        CONFIG_MAP, world.namespace, "settings", {"data": {"a": "by hand", "b": None}}
    )
    assert patched["data"] == {"a": "by hand"}
    with pytest.raises(KubeConflict, match=r"\.data\.a"):
        await put(kube, world, config_map("settings", a="1", b="1"))
    found = await put(kube, world, config_map("settings", a="1", b="1"), force=True)
    assert found["data"] == {"a": "1", "b": "1"}


async def test_a_dry_run_changes_nothing(kube: Kube, world: World) -> None:
    body = config_map("settings", a="1")
    shown = await kube.apply(CONFIG_MAP, world.namespace, "settings", body, field_manager="one", dry_run=True)
    assert shown["data"] == {"a": "1"}
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, world.namespace, "settings")


async def test_metadata_alone_has_the_kind_and_nothing_else(kube: Kube, world: World) -> None:
    body = config_map("settings", {"app": "shop"}, a="1")
    applied = await kube.apply(
        CONFIG_MAP, world.namespace, "settings", body, field_manager="one", metadata_only=True
    )
    read = await kube.get(CONFIG_MAP, world.namespace, "settings", metadata_only=True)
    (listed,) = await kube.list(
        CONFIG_MAP, namespace=world.namespace, label_selector="app=shop", metadata_only=True
    )
    for found in (applied, read, listed):
        assert set(found) == {"apiVersion", "kind", "metadata"}
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        assert found["metadata"]["labels"] == {"app": "shop"}


async def test_a_list_holds_what_the_selector_matches(kube: Kube, world: World) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        await put(kube, world, config_map(name, {"tier": tier}))
    await put(kube, world, config_map("d"))

    async def names(selector: str) -> list[str]:
        found = await kube.list(CONFIG_MAP, namespace=world.namespace, label_selector=selector)
        assert {(item["apiVersion"], item["kind"]) for item in found} <= {("v1", "ConfigMap")}
        return [item["metadata"]["name"] for item in found if item["metadata"]["name"] != "kube-root-ca.crt"]

    assert await names("tier=front") == ["a", "c"]
    assert await names("tier,tier!=front") == ["b"]
    assert await names("!tier") == ["d"]
    assert await names("") == ["a", "b", "c", "d"]


async def test_a_create_of_what_exists_is_refused(kube: Kube, world: World) -> None:
    await kube.create(CONFIG_MAP, world.namespace, config_map("settings", a="1"))
    with pytest.raises(AlreadyExists):
        await kube.create(CONFIG_MAP, world.namespace, config_map("settings", a="2"))


async def test_a_replace_with_an_old_version_is_refused(kube: Kube, world: World) -> None:
    made = await kube.create(CONFIG_MAP, world.namespace, config_map("settings", a="1"))
    replaced = await kube.replace(CONFIG_MAP, world.namespace, "settings", {**made, "data": {"a": "2"}})
    assert replaced["data"] == {"a": "2"}
    with pytest.raises(KubeConflict):
        await kube.replace(CONFIG_MAP, world.namespace, "settings", {**made, "data": {"a": "3"}})
    with pytest.raises(NotFound):
        await kube.replace(CONFIG_MAP, world.namespace, "other", config_map("other", a="2"))


async def test_a_delete_obeys_its_preconditions_and_can_be_said_twice(kube: Kube, world: World) -> None:
    made = await put(kube, world, config_map("settings", a="1"))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    with pytest.raises(KubeConflict):
        await kube.delete(CONFIG_MAP, world.namespace, "settings", uid="00000000-0000-4000-8000-000000000000")
    with pytest.raises(KubeConflict):
        await kube.delete(CONFIG_MAP, world.namespace, "settings", resource_version="1")
    await kube.delete(CONFIG_MAP, world.namespace, "settings", uid=uid, resource_version=version)
    await kube.delete(CONFIG_MAP, world.namespace, "settings")
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, world.namespace, "settings")


async def test_a_finalizer_holds_an_object_until_it_is_taken_off(kube: Kube, world: World) -> None:
    body = config_map("settings")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    await kube.create(CONFIG_MAP, world.namespace, body)
    await kube.delete(CONFIG_MAP, world.namespace, "settings")
    found = await kube.get(CONFIG_MAP, world.namespace, "settings")
    assert found["metadata"]["deletionTimestamp"]
    await kube.merge_patch(CONFIG_MAP, world.namespace, "settings", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, world.namespace, "settings")


async def test_the_generation_moves_with_the_spec_alone(kube: Kube, world: World) -> None:
    def deployment(replicas: int, label: str) -> Object:
        labels = {"app": "shop"}
        containers = [{"name": "shop", "image": "example.com/shop:1"}]
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "shop", "labels": {"mark": label}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        }

    generations = []
    for replicas, label in ((0, "a"), (0, "b"), (1, "b")):
        body = deployment(replicas, label)
        found = await kube.apply(DEPLOYMENT, world.namespace, "shop", body, field_manager="one")
        generations.append(found["metadata"]["generation"])
    assert generations[0] == generations[1] == generations[2] - 1


@pytest.mark.parametrize(
    ("namespace", "name", "body", "error"),
    [
        ("none-such", "settings", config_map("settings"), NotFound),
        ("", "settings", config_map("settings"), ApplyRefused),
        (None, "Not_A_Name", config_map("Not_A_Name"), ApplyRefused),
        (None, "..", config_map(".."), ApplyRefused),
        (None, "settings", config_map("settings", a=["no", "string"]), ApplyRefused),
        (None, "settings", {**config_map("settings"), "kind": "Secret"}, ApplyRefused),
    ],
)
async def test_what_cannot_be_applied_is_refused_in_one_short_sentence(
    kube: Kube, world: World, namespace: str | None, name: str, body: Object, error: type[FleetbusError]
) -> None:
    with pytest.raises(error) as refused:
        await kube.apply(
            CONFIG_MAP, world.namespace if namespace is None else namespace, name, body, field_manager="one"
        )
    assert 0 < len(refused.value.message) <= 256
    assert refused.value.message.isprintable()


async def test_a_refused_secret_shows_nothing_of_its_values(kube: Kube, world: World) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "password"},
        "data": {"password": {"canary": "canary"}},
    }
    with pytest.raises(ApplyRefused) as refused:
        await kube.apply(SECRET, world.namespace, "password", body, field_manager="one")
    assert "canary" not in refused.value.sentence()
    if world.access is not None:
        with pytest.raises(ApplyRefused) as refused:
            await kube.create(SECRET, world.namespace, {**body, "data": {"password": "canary!"}})
        assert "canary" not in refused.value.sentence()


async def test_a_new_kind_is_discovered_served_and_gone_with_its_definition(kube: Kube, world: World) -> None:
    async with _kind(kube, world) as (api_version, definition):
        resource = await _served(kube, api_version)
        assert resource in await kube.resources() or resource.namespaced
        body = {
            "apiVersion": api_version,
            "kind": "Widget",
            "metadata": {"name": "one"},
            "spec": {"size": 1},
        }
        made = await kube.apply(resource, world.namespace, "one", body, field_manager="one")
        assert (made["kind"], made["spec"]) == ("Widget", {"size": 1})
        await kube.delete(CRD, "", definition)
        assert await wait_until(lambda: _missing(kube, resource, world.namespace, "one"), CLOCK, 30)


async def test_a_kind_that_nobody_serves_is_not_found(kube: Kube) -> None:
    with pytest.raises(NotFound, match="no kind Nonesuch in v1"):
        await kube.resource("v1", "Nonesuch")
    assert await kube.resource("v1", "ConfigMap") == CONFIG_MAP
    assert await kube.resource("apps/v1", "Deployment") == DEPLOYMENT
    assert {CONFIG_MAP, NAMESPACE, DEPLOYMENT, CRD} <= set(await kube.resources())
    assert (await kube.version()).startswith("v1.")


async def test_a_watch_gives_what_is_there_then_every_change(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("a", {"app": "shop"}, value="1"))
    await put(kube, world, config_map("b", {"app": "other"}, value="1"))
    stream = kube.watch(CONFIG_MAP, namespace=world.namespace, label_selector="app=shop")
    async with aclosing(cast("Any", stream)) as events:
        assert _brief(await _until(events, "SYNCED")) == ["ADDED a", "SYNCED"]
        await put(kube, world, config_map("c", {"app": "shop"}, value="1"))
        await put(kube, world, config_map("a", {"app": "shop"}, value="2"))
        await put(kube, world, config_map("c", {"app": "none"}, value="1"))
        await kube.delete(CONFIG_MAP, world.namespace, "a")
        seen = await _until(events, "DELETED a")
    assert _brief(seen) == ["ADDED c", "MODIFIED a", "DELETED c", "DELETED a"]
    for event in seen:
        assert set(event.object) == {"apiVersion", "kind", "metadata"}
        assert event.object["kind"] == "ConfigMap"
        assert event.object["metadata"]["uid"]


async def test_a_watch_gives_whole_objects_when_asked(kube: Kube, world: World) -> None:
    await put(kube, world, config_map("a", {"app": "shop"}, value="1"))
    stream = kube.watch(CONFIG_MAP, namespace=world.namespace, label_selector="app=shop", metadata_only=False)
    async with aclosing(cast("Any", stream)) as events:
        seen = await _until(events, "SYNCED")
        assert seen[0].object["data"] == {"value": "1"}


async def test_a_watch_of_a_kind_that_is_not_served_waits_for_it(kube: Kube, world: World) -> None:
    async with _kind(kube, world, make=False) as (api_version, definition):
        resource = Resource(api_version.split("/")[0], "v1", "widgets", "Widget", True)
        stream = kube.watch(resource, namespace=world.namespace)
        async with aclosing(cast("Any", stream)) as events:
            assert _brief(await _until(events, "SYNCED")) == ["SYNCED"]
            await kube.create(CRD, "", _definition(definition))
            await _served(kube, api_version)
            body = {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": "one"}, "spec": {}}
            await kube.apply(resource, world.namespace, "one", body, field_manager="one")
            assert "ADDED one" in _brief(await _until(events, "ADDED one"))


async def test_a_watch_ends_when_it_is_cancelled(kube: Kube, world: World) -> None:
    synced = asyncio.Event()

    async def follow() -> None:
        async for event in kube.watch(CONFIG_MAP, namespace=world.namespace):
            if event.type == "SYNCED":
                synced.set()

    task = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        await synced.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class _kind:
    """A kind `Widget` in a group of its own for a test, as its CustomResourceDefinition; removed at the end."""

    def __init__(self, kube: Kube, world: World, *, make: bool = True) -> None:
        self._kube, self._make = kube, make
        self._group = f"{world.namespace}.example.com"

    async def __aenter__(self) -> tuple[str, str]:
        name = f"widgets.{self._group}"
        if self._make:
            await self._kube.create(CRD, "", _definition(name))
        return f"{self._group}/v1", name

    async def __aexit__(self, *error: object) -> None:
        await self._kube.delete(CRD, "", f"widgets.{self._group}")


def _definition(name: str) -> Object:
    plural, group = name.split(".", 1)
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {}}}}}
    schema["properties"]["spec"]["properties"]["size"] = {"type": "integer"}  # type: ignore[index]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "names": {"plural": plural, "singular": "widget", "kind": "Widget"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


async def _served(kube: Kube, api_version: str) -> Resource:
    async def known() -> bool:
        try:
            await kube.resource(api_version, "Widget")
        except NotFound:
            return False
        return True

    assert await wait_until(known, CLOCK, 30)
    return await kube.resource(api_version, "Widget")


async def _missing(kube: Kube, resource: Resource, namespace: str, name: str) -> bool:
    try:
        await kube.get(resource, namespace, name)
    except NotFound:
        return True
    return False


def _brief(events: list[KubeEvent]) -> list[str]:
    return [
        f"{event.type} {(event.object.get('metadata') or {}).get('name', '')}".strip() for event in events
    ]


async def _until(events: AsyncIterator[KubeEvent], last: str) -> list[KubeEvent]:
    seen: list[KubeEvent] = []
    is_last: Callable[[KubeEvent], bool] = lambda event: _brief([event]) == [last]  # noqa: E731
    async with asyncio.timeout(30):
        async for event in events:
            seen.append(event)
            if is_last(event):
                return seen
    raise AssertionError("the watch ended")
