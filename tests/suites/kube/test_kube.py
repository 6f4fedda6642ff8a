"""What holds of the port `Kube`, on a real API server and on the simulated one alike."""

from __future__ import annotations

import pytest

from fleetbus.runtime.ports import Kube
from fleetbus.schemas.errors import AlreadyExists, ApplyRefused, FleetbusError, KubeConflict, NotFound
from tests.suites.kube.world import (
    CLOCK,
    CONFIG_MAP,
    CRD,
    DEPLOYMENT,
    NAMESPACE,
    SECRET,
    Object,
    Widgets,
    World,
    config_map,
    missing,
    put,
    served,
)
from tests.waiting import wait_until


async def test_an_apply_creates_then_changes_and_then_changes_nothing(kube: Kube, kube_world: World) -> None:
    made = await put(kube, kube_world, config_map("settings", a="1"))
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"a": "1"})
    changed = await put(kube, kube_world, config_map("settings", a="2"))
    again = await put(kube, kube_world, config_map("settings", a="2"))
    versions = [found["metadata"]["resourceVersion"] for found in (made, changed, again)]
    assert versions[0] != versions[1] == versions[2]
    assert made["metadata"]["uid"] == again["metadata"]["uid"]


async def test_bytes_are_applied_as_they_are(kube: Kube, kube_world: World) -> None:
    body = '{"apiVersion":"v1","data":{"e":"é"},"kind":"ConfigMap","metadata":{"name":"raw"}}'.encode()
    made = await kube.apply(CONFIG_MAP, kube_world.namespace, "raw", body, field_manager="one")
    assert made["data"] == {"e": "é"}


async def test_what_is_no_longer_applied_is_removed_unless_another_owns_it(
    kube: Kube, kube_world: World
) -> None:
    await put(kube, kube_world, config_map("settings", a="1", b="1", c="1"))
    await put(kube, kube_world, config_map("settings", b="1"), "two")
    found = await put(kube, kube_world, config_map("settings", c="1"))
    assert found["data"] == {"b": "1", "c": "1"}


async def test_a_conflict_names_field_and_manager_and_force_takes_the_field(
    kube: Kube, kube_world: World
) -> None:
    await put(kube, kube_world, config_map("settings", secretly="first"))
    with pytest.raises(KubeConflict) as conflict:
        await put(kube, kube_world, config_map("settings", secretly="second"), "two")
    assert ".data.secretly (one)" in conflict.value.message
    assert "first" not in conflict.value.message
    found = await put(kube, kube_world, config_map("settings", secretly="second"), "two", force=True)
    assert found["data"] == {"secretly": "second"}
    owners = {
        entry["manager"]
        for entry in found["metadata"]["managedFields"]
        if "f:secretly" in entry["fieldsV1"].get("f:data", {})
    }
    assert owners == {"two"}


async def test_a_value_that_others_own_can_be_shared(kube: Kube, kube_world: World) -> None:
    await put(kube, kube_world, config_map("settings", a="1"))
    found = await put(kube, kube_world, config_map("settings", a="1"), "two")
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"one", "two"}


async def test_a_patch_takes_the_fields_that_it_changes(kube: Kube, kube_world: World) -> None:
    await put(kube, kube_world, config_map("settings", a="1", b="1"))
    patched = await kube.merge_patch(
        CONFIG_MAP, kube_world.namespace, "settings", {"data": {"a": "by hand", "b": None}}
    )
    assert patched["data"] == {"a": "by hand"}
    with pytest.raises(KubeConflict, match=r"\.data\.a"):
        await put(kube, kube_world, config_map("settings", a="1", b="1"))
    found = await put(kube, kube_world, config_map("settings", a="1", b="1"), force=True)
    assert found["data"] == {"a": "1", "b": "1"}


async def test_a_dry_run_changes_nothing(kube: Kube, kube_world: World) -> None:
    body = config_map("settings", a="1")
    shown = await kube.apply(
        CONFIG_MAP, kube_world.namespace, "settings", body, field_manager="one", dry_run=True
    )
    assert shown["data"] == {"a": "1"}
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, kube_world.namespace, "settings")


async def test_metadata_alone_has_the_kind_and_nothing_else(kube: Kube, kube_world: World) -> None:
    body = config_map("settings", {"app": "shop"}, a="1")
    applied = await kube.apply(
        CONFIG_MAP, kube_world.namespace, "settings", body, field_manager="one", metadata_only=True
    )
    read = await kube.get(CONFIG_MAP, kube_world.namespace, "settings", metadata_only=True)
    (listed,) = await kube.list(
        CONFIG_MAP, namespace=kube_world.namespace, label_selector="app=shop", metadata_only=True
    )
    for found in (applied, read, listed):
        assert set(found) == {"apiVersion", "kind", "metadata"}
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        assert found["metadata"]["labels"] == {"app": "shop"}


async def test_a_list_holds_what_the_selector_matches(kube: Kube, kube_world: World) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        await put(kube, kube_world, config_map(name, {"tier": tier}))
    await put(kube, kube_world, config_map("d"))

    async def names(selector: str) -> list[str]:
        found = await kube.list(CONFIG_MAP, namespace=kube_world.namespace, label_selector=selector)
        assert {(item["apiVersion"], item["kind"]) for item in found} <= {("v1", "ConfigMap")}
        return [item["metadata"]["name"] for item in found if item["metadata"]["name"] != "kube-root-ca.crt"]

    assert await names("tier=front") == ["a", "c"]
    assert await names("tier,tier!=front") == ["b"]
    assert await names("!tier") == ["d"]
    assert await names("") == ["a", "b", "c", "d"]


async def test_a_create_of_what_exists_is_refused(kube: Kube, kube_world: World) -> None:
    await kube.create(CONFIG_MAP, kube_world.namespace, config_map("settings", a="1"))
    with pytest.raises(AlreadyExists):
        await kube.create(CONFIG_MAP, kube_world.namespace, config_map("settings", a="2"))


async def test_a_replace_with_an_old_version_is_refused(kube: Kube, kube_world: World) -> None:
    made = await kube.create(CONFIG_MAP, kube_world.namespace, config_map("settings", a="1"))
    replaced = await kube.replace(CONFIG_MAP, kube_world.namespace, "settings", {**made, "data": {"a": "2"}})
    assert replaced["data"] == {"a": "2"}
    with pytest.raises(KubeConflict):
        await kube.replace(CONFIG_MAP, kube_world.namespace, "settings", {**made, "data": {"a": "3"}})
    with pytest.raises(NotFound):
        await kube.replace(CONFIG_MAP, kube_world.namespace, "other", config_map("other", a="2"))


async def test_a_delete_obeys_its_preconditions_and_can_be_said_twice(kube: Kube, kube_world: World) -> None:
    made = await put(kube, kube_world, config_map("settings", a="1"))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    with pytest.raises(KubeConflict):
        await kube.delete(
            CONFIG_MAP, kube_world.namespace, "settings", uid="00000000-0000-4000-8000-000000000000"
        )
    with pytest.raises(KubeConflict):
        await kube.delete(CONFIG_MAP, kube_world.namespace, "settings", resource_version="1")
    await kube.delete(CONFIG_MAP, kube_world.namespace, "settings", uid=uid, resource_version=version)
    await kube.delete(CONFIG_MAP, kube_world.namespace, "settings")
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, kube_world.namespace, "settings")


async def test_a_finalizer_holds_an_object_until_it_is_taken_off(kube: Kube, kube_world: World) -> None:
    body = config_map("settings")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    await kube.create(CONFIG_MAP, kube_world.namespace, body)
    await kube.delete(CONFIG_MAP, kube_world.namespace, "settings")
    found = await kube.get(CONFIG_MAP, kube_world.namespace, "settings")
    assert found["metadata"]["deletionTimestamp"]
    await kube.merge_patch(CONFIG_MAP, kube_world.namespace, "settings", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, kube_world.namespace, "settings")


async def test_the_generation_moves_with_the_spec_alone(kube: Kube, kube_world: World) -> None:
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
        found = await kube.apply(DEPLOYMENT, kube_world.namespace, "shop", body, field_manager="one")
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
    kube: Kube, kube_world: World, namespace: str | None, name: str, body: Object, error: type[FleetbusError]
) -> None:
    with pytest.raises(error) as refused:
        await kube.apply(
            CONFIG_MAP,
            kube_world.namespace if namespace is None else namespace,
            name,
            body,
            field_manager="one",
        )
    assert 0 < len(refused.value.message) <= 256
    assert refused.value.message.isprintable()


async def test_a_refused_secret_shows_nothing_of_its_values(kube: Kube, kube_world: World) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "password"},
        "data": {"password": {"canary": "canary"}},
    }
    with pytest.raises(ApplyRefused) as refused:
        await kube.apply(SECRET, kube_world.namespace, "password", body, field_manager="one")
    assert "canary" not in refused.value.sentence()
    if kube_world.access is not None:
        with pytest.raises(ApplyRefused) as refused:
            await kube.create(SECRET, kube_world.namespace, {**body, "data": {"password": "canary!"}})
        assert "canary" not in refused.value.sentence()


async def test_a_new_kind_is_discovered_served_and_gone_with_itsdefinition(
    kube: Kube, kube_world: World
) -> None:
    async with Widgets(kube, kube_world) as (api_version, definition):
        resource = await served(kube, api_version)
        assert resource in await kube.resources() or resource.namespaced
        body = {
            "apiVersion": api_version,
            "kind": "Widget",
            "metadata": {"name": "one"},
            "spec": {"size": 1},
        }
        made = await kube.apply(resource, kube_world.namespace, "one", body, field_manager="one")
        assert (made["kind"], made["spec"]) == ("Widget", {"size": 1})
        await kube.delete(CRD, "", definition)
        assert await wait_until(lambda: missing(kube, resource, kube_world.namespace, "one"), CLOCK, 30)


async def test_a_kind_that_nobody_serves_is_not_found(kube: Kube) -> None:
    with pytest.raises(NotFound, match="no kind Nonesuch in v1"):
        await kube.resource("v1", "Nonesuch")
    assert await kube.resource("v1", "ConfigMap") == CONFIG_MAP
    assert await kube.resource("apps/v1", "Deployment") == DEPLOYMENT
    assert {CONFIG_MAP, NAMESPACE, DEPLOYMENT, CRD} <= set(await kube.resources())
    assert (await kube.version()).startswith("v1.")
