"""Objects are applied in order, changed, and stay as they were told; what differs by a hand is put back."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.schemas.capabilities import bundles as schema
from tests.bundles_stand import Stand, config_map
from tests.waiting import wait_until


def path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def eventually(condition: Any, timeout_s: float = 15.0) -> None:
    assert await wait_until(condition, SystemClock(), timeout_s, 0.02)


async def test_objects_are_applied_and_changed(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red"), config_map("b", namespace)])
    state = await stand.until("app", "True")

    assert (state.objects, state.ready) == (2, 2)
    found = await control_plane.admin.get(path(namespace, "a"))
    assert found["data"] == {"color": "red"}
    assert found["metadata"]["labels"]["applyset.kubernetes.io/part-of"].startswith("applyset-")
    assert found["metadata"]["annotations"]["fleetbus.dev/bundle"] == "app"
    assert stand.side.types() == [schema.EVENT_APPLIED, schema.EVENT_HEALTHY]

    stand.tell("app", [config_map("a", namespace, color="blue"), config_map("b", namespace)])
    await stand.until("app", "True")
    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "blue"}
    assert stand.side.types() == [schema.EVENT_APPLIED, schema.EVENT_HEALTHY, schema.EVENT_APPLIED]


async def test_a_hand_edit_is_put_back_and_told(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red")])
    await stand.until("app", "True")
    await control_plane.admin.apply(
        path(namespace, "a"), config_map("a", namespace, color="green"), owner="ana"
    )

    async def is_back() -> bool:
        found = await control_plane.admin.get(path(namespace, "a"))
        return bool(found["data"] == {"color": "red"})

    await eventually(is_back)
    await stand.side.until(lambda: schema.EVENT_DRIFT_CORRECTED in stand.side.types())
    told = next(one for one in stand.side.happened if one.type == schema.EVENT_DRIFT_CORRECTED)
    assert told.details["manager"] == "ana"


async def test_a_field_that_nobody_told_is_left_alone(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red")])
    await stand.until("app", "True")
    await control_plane.admin.merge(path(namespace, "a"), {"data": {"size": "9"}})
    stand.tell("app", [config_map("a", namespace, color="blue")])
    await stand.until("app", "True")

    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "blue", "size": "9"}
    assert schema.EVENT_DRIFT_CORRECTED not in stand.side.types()


async def test_a_deleted_object_and_a_removed_label_come_back(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red"), config_map("b", namespace)])
    await stand.until("app", "True")
    await control_plane.admin.delete(path(namespace, "a"))
    patch = {"metadata": {"labels": {"applyset.kubernetes.io/part-of": None}}}
    await control_plane.admin.merge(path(namespace, "b"), patch)

    async def are_back() -> bool:
        if not await control_plane.admin.exists(path(namespace, "a")):
            return False
        found = await control_plane.admin.get(path(namespace, "b"))
        return "applyset.kubernetes.io/part-of" in found["metadata"].get("labels", {})

    await eventually(are_back)


async def test_a_restarted_agent_sends_nothing_when_nothing_differs(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map(f"c{n}", namespace, n=str(n)) for n in range(20)])
    await stand.until("app", "True")
    before = await control_plane.admin.get(f"/api/v1/namespaces/{namespace}/configmaps")
    await stand.__aexit__(None, None, None)
    await stand.__aenter__()
    stand.side.bodies.clear()
    stand.say()
    await stand.until("app", "True")

    after = await control_plane.admin.get(f"/api/v1/namespaces/{namespace}/configmaps")
    versions = [one["metadata"]["resourceVersion"] for one in before["items"]]
    assert [one["metadata"]["resourceVersion"] for one in after["items"]] == versions


async def test_what_changed_while_the_agent_was_away_is_put_back(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red"), config_map("b", namespace)])
    await stand.until("app", "True")
    await stand.__aexit__(None, None, None)
    await control_plane.admin.merge(path(namespace, "a"), {"data": {"color": "green"}})
    await control_plane.admin.delete(path(namespace, "b"))
    await stand.__aenter__()
    stand.say()

    async def are_back() -> bool:
        exists = await control_plane.admin.exists(path(namespace, "b"))
        found = await control_plane.admin.get(path(namespace, "a"))
        return bool(exists and found["data"] == {"color": "red"})

    await eventually(are_back)


async def test_a_definition_and_its_object_come_in_one_bundle(
    stand: Stand, kube: KubeClient, control_plane: ControlPlane, namespace: str
) -> None:
    group = f"{namespace}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"widgets-{namespace}", "labels": {"fleetbus.dev/aggregate-to-agent": "true"}},
        "rules": [{"apiGroups": [group], "resources": ["widgets"], "verbs": ["*"]}],
    }
    widget = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace},
        "spec": {"size": 1},
    }
    stand.tell("app", [widget, definition, role, config_map("beside", namespace)])
    await stand.side.until(lambda: stand.stands("app", "True"), timeout_s=30)

    assert await control_plane.admin.exists(f"/apis/{group}/v1/namespaces/{namespace}/widgets/w")
    stand.retire("app")
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed, timeout_s=30)
    assert not await control_plane.admin.exists(
        f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
    )


async def test_health_follows_the_workload(stand: Stand, control_plane: ControlPlane, namespace: str) -> None:
    labels = {"app": "web"}
    container = {"name": "web", "image": "registry.example.com/web:1"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    stand.tell("app", [deployment])
    await stand.until("app", "True", type_=schema.APPLIED)
    await stand.side.until(lambda: stand.stands("app", "True"), timeout_s=60)

    assert schema.EVENT_HEALTHY in stand.side.types()


async def test_one_object_that_is_refused_stops_no_other(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    bad = {**config_map("bad", namespace), "data": {"n": 5}}
    missing = config_map("c", f"{namespace}-missing")
    unknown = {"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"name": "n"}}
    stand.tell("app", [config_map("a", namespace), bad, missing, unknown])
    wanted = {
        f"ConfigMap {namespace}/bad": schema.REASON_APPLY_REFUSED,
        f"ConfigMap {namespace}-missing/c": schema.REASON_APPLY_REFUSED,
        "example.com/Nothing n": schema.REASON_KIND_UNKNOWN,
    }

    def is_told() -> bool:
        state = stand.state("app")
        return state is not None and {one.object: one.reason for one in state.failing} == wanted

    await stand.side.until(is_told)
    state = await stand.until("app", "False", schema.REASON_APPLY_REFUSED, schema.APPLIED)
    assert state.ready == 1
    said = {one.object: one.message for one in state.failing}
    assert "does not exist" in said[f"ConfigMap {namespace}-missing/c"]
    assert await control_plane.admin.exists(path(namespace, "a"))
    assert schema.EVENT_APPLY_FAILED in stand.side.types()


async def test_a_right_that_is_missing_is_named(stand: Stand, namespace: str) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "x", "namespace": namespace},
    }
    stand.tell("app", [lease])
    state = await stand.until("app", "False", schema.REASON_APPLY_REFUSED)

    assert "leases.coordination.k8s.io" in state.failing[0].message
    assert "fleetbus.dev/aggregate-to-agent" in state.failing[0].message


@pytest.mark.parametrize("halts", [("*",), ("app",)])
async def test_a_halt_keeps_changes_back_until_it_is_lifted(
    stand: Stand, control_plane: ControlPlane, namespace: str, halts: tuple[str, ...]
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red")])
    await stand.until("app", "True")
    stand.halts = halts
    stand.tell("app", [config_map("a", namespace, color="blue")])
    await stand.until("app", "Unknown", schema.REASON_HALTED)
    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "red"}

    stand.halts = ()
    stand.say()
    await stand.until("app", "True")
    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "blue"}
