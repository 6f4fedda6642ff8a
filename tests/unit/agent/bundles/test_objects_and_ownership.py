"""Keys, order, marks and records: what is written is read again."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.agent.capabilities.bundles.live import fields_hash, last_editor, live_of
from fleetbus.agent.capabilities.bundles.objects import (
    PART_OF,
    ObjectKey,
    body_of,
    order_of,
    parse_key,
    parse_objects,
    scoped,
)
from fleetbus.agent.capabilities.bundles.ownership import (
    Membership,
    Recorded,
    apply_set_id,
    label_of,
    parent_object,
    parse_parent,
)
from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import ObjectInvalid

WORD = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
KEYS = st.builds(ObjectKey, st.one_of(st.just(""), WORD), WORD, st.one_of(st.just(""), WORD), WORD)


@given(KEYS)
def test_a_key_is_read_as_it_was_written(key: ObjectKey) -> None:
    assert parse_key(key.text()) == key


@pytest.mark.parametrize("text", ["", "a/b/c", "a//c/d", "a/b/c/", "a/b/c/d/e"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ObjectInvalid):
        parse_key(text)


@pytest.mark.parametrize("count", [0, 3, 2000])
def test_a_record_is_read_as_it_was_written_and_packed_when_large(count: int) -> None:
    objects = {
        ObjectKey("apps", "Deployment", "shop", f"d{n}"): Recorded(
            os.urandom(8).hex(), os.urandom(8).hex(), "v1"
        )
        for n in range(count)
    }
    membership = Membership("id-1", "shop", objects, settled=count)
    parent = parent_object(membership)

    assert parse_parent(parent) == membership
    assert ("binaryData" in parent) == (count > 1000)
    assert len(canonical(parent)) < 1024 * 1024
    annotations = parent["metadata"]["annotations"]
    assert annotations["applyset.kubernetes.io/contains-group-kinds"] == ("Deployment.apps" if count else "")
    assert annotations["applyset.kubernetes.io/additional-namespaces"] == ("shop" if count else "")
    assert parent["metadata"]["labels"]["applyset.kubernetes.io/id"] == membership.apply_set


@pytest.mark.parametrize(
    "content", [{}, {"data": {"record": "5"}}, {"data": {"record": "{}"}}, {"binaryData": {"record": "?"}}]
)
def test_a_parent_without_a_record_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ObjectInvalid):
        parse_parent({"metadata": {"name": "fleetbus-bundle-x"}, **content})


def test_a_record_under_another_bundles_name_is_refused() -> None:
    parent = parent_object(Membership("id-1", "shop"))
    parent["metadata"]["name"] = "fleetbus-bundle-id-2"
    with pytest.raises(ObjectInvalid):
        parse_parent(parent)


def test_ids_fit_labels() -> None:
    assert label_of("01h2abc") == "01h2abc"
    assert label_of("Ünfit/" * 50).isalnum()
    assert len(apply_set_id("fleetbus-bundle-x")) <= 63


def test_order_is_namespaces_and_definitions_then_the_annotation_then_the_rank() -> None:
    def order(group: str, kind: str, **annotations: str) -> tuple[int, int, int]:
        return order_of((group, kind), {f"fleetbus.dev/{key}": value for key, value in annotations.items()})

    ordered = [
        order("", "Namespace", order="9"),
        order("apps", "Deployment", order="-1"),
        order("rbac.authorization.k8s.io", "ClusterRole"),
        order("", "ConfigMap"),
        order("", "Service"),
        order("apps", "Deployment"),
        order("apiregistration.k8s.io", "APIService"),
        order("example.com", "Widget"),
        order("", "ConfigMap", order="1"),
    ]
    assert ordered == sorted(ordered)
    assert order_of(("", "ConfigMap"), {"argocd.argoproj.io/sync-wave": "-5"})[1] == -5
    assert order_of(("", "ConfigMap"), {"argocd.argoproj.io/sync-wave": "soon"})[1] == 0


def test_what_is_sent_is_marked_and_without_what_the_server_owns() -> None:
    value = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "managedFields": [], "labels": {"x": "y"}},
        "status": {},
        "data": {"k": "v"},
    }
    (desired,) = parse_objects(canonical({"objects": [value]}), "set", "shop").values()
    sent = parse_json(body_of(desired, "set", "shop"))

    assert sent["metadata"] == {
        "name": "a",
        "namespace": "n",
        "labels": {"x": "y", PART_OF: "set"},
        "annotations": {"fleetbus.dev/bundle": "shop"},
    }
    assert "status" not in sent


def test_a_cluster_wide_object_loses_its_namespace() -> None:
    value = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "n"}}
    objects = parse_objects(canonical({"objects": [value]}), "set", "shop")
    (key,) = scoped(objects.values(), frozenset({("v1", "Thing")}))

    assert key == ObjectKey("", "Thing", "", "a")


def test_unchanged_objects_are_taken_from_before() -> None:
    values = [{"apiVersion": "v1", "kind": "Thing", "metadata": {"name": f"a{n}"}} for n in range(2)]
    before = parse_objects(canonical({"objects": values}), "set", "shop")
    changed: list[dict[str, Any]] = [values[0], {**values[1], "spec": 1}]
    after = parse_objects(canonical({"objects": changed}), "set", "shop", before)

    kept, new = ObjectKey("", "Thing", "", "a0"), ObjectKey("", "Thing", "", "a1")
    assert after[kept] is before[kept]
    assert after[new].digest != before[new].digest


@pytest.mark.parametrize(
    "objects", [5, [5], [{"kind": "A"}], [{"apiVersion": "v1", "kind": "A", "metadata": {}}]]
)
def test_what_is_no_object_is_refused(objects: Any) -> None:
    with pytest.raises(ObjectInvalid):
        parse_objects(canonical({"objects": objects}), "set", "shop")


def entry(manager: str, operation: str, time: str, **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "time": time, "fieldsV1": {"f:data": {}}, **more}


def test_our_fields_are_those_that_we_applied() -> None:
    ours = entry("fleetbus", "Apply", "2026-01-01T00:00:00Z")
    theirs = entry("kubectl", "Update", "2026-01-02T00:00:00Z")
    status = entry("controller", "Update", "2026-01-03T00:00:00Z", subresource="status")

    assert fields_hash([theirs, ours, status]) == fields_hash([ours])
    assert fields_hash([theirs, entry("fleetbus", "Update", "t")]) == ""
    assert last_editor([theirs, ours, status]) == "kubectl"
    assert last_editor([ours, status]) == ""


def test_a_live_object_in_few_words() -> None:
    live = live_of(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "uid": "u",
                "resourceVersion": "41",
                "labels": {PART_OF: "set"},
                "annotations": {"fleetbus.dev/prune": "disabled", "fleetbus.dev/order": "3"},
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": ["a", "b"],
            },
        },
        whole=False,
    )
    assert (live.uid, live.version, live.part_of, live.keep, live.order) == ("u", 41, "set", True, 3)
    assert (live.deleting, live.finalizers, live.health) == (True, "a, b", None)
