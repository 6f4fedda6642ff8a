"""An object has one owner: adoption as it is told, two bundles, moves between them, and fights."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.schemas.capabilities import bundles as schema
from tests.bundles_stand import Stand, config_map
from tests.integration.bundles.test_pruning import eventually, path

HELM: dict[str, Any] = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "shop"},
}


@pytest.mark.parametrize(
    ("adopt", "marks", "reason"),
    [
        ("Never", {}, schema.REASON_EXISTS),
        ("IfUnowned", {}, ""),
        ("IfUnowned", HELM, schema.REASON_APPLY_CONFLICT),
        ("Always", HELM, ""),
    ],
)
async def test_an_existing_object_is_taken_as_adopt_says(
    stand: Stand,
    control_plane: ControlPlane,
    namespace: str,
    adopt: str,
    marks: dict[str, Any],
    reason: str,
) -> None:
    theirs = config_map("a", namespace, color="green")
    theirs["metadata"].update(marks)
    await control_plane.admin.create(f"/api/v1/namespaces/{namespace}/configmaps", theirs)
    stand.tell("app", [config_map("a", namespace, color="red")], adopt=adopt)

    await stand.until("app", "False" if reason else "True", reason)
    found = await control_plane.admin.get(path(namespace, "a"))
    assert found["data"] == {"color": "green" if reason else "red"}


@pytest.mark.parametrize("adopt", ["Never", "IfUnowned", "Always"])
async def test_the_second_of_two_bundles_is_refused_and_names_the_first(
    stand: Stand, control_plane: ControlPlane, namespace: str, adopt: str
) -> None:
    stand.tell("first", [config_map("a", namespace, color="red")])
    await stand.until("first", "True")
    stand.tell("second", [config_map("a", namespace, color="green")], adopt=adopt)
    state = await stand.until("second", "False", schema.REASON_OWNED_BY_OTHER)

    assert "first" in state.failing[0].message
    assert stand.stands("first", "True")
    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "red"}


async def test_of_two_bundles_that_come_together_the_first_has_it(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.entries.clear()
    stand.tell("first", [config_map("a", namespace, color="red")])
    stand.tell("second", [config_map("a", namespace, color="green"), config_map("b", namespace)])
    await stand.until("first", "True")
    await stand.until("second", "False", schema.REASON_OWNED_BY_OTHER)


async def test_an_object_that_moves_between_bundles_stays_the_same_object(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    moving = config_map("moving", namespace, color="red")
    stand.tell("first", [moving, config_map("a", namespace)])
    stand.tell("second", [config_map("b", namespace)])
    await stand.until("first", "True")
    await stand.until("second", "True")
    uid = (await control_plane.admin.get(path(namespace, "moving")))["metadata"]["uid"]
    stand.tell("first", [config_map("a", namespace)])
    stand.tell("second", [config_map("b", namespace), moving], adopt="Never")
    await stand.until("second", "True")

    async def belongs_to_second() -> bool:
        found = await control_plane.admin.get(path(namespace, "moving"))
        return bool(found["metadata"]["annotations"][schema.BUNDLE_ANNOTATION] == "second")

    await eventually(belongs_to_second)
    await stand.until("first", "True")
    assert (await control_plane.admin.get(path(namespace, "moving")))["metadata"]["uid"] == uid


async def test_a_renamed_bundle_keeps_its_objects(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("old", [config_map("a", namespace)], id="id-same")
    await stand.until("old", "True")
    uid = (await control_plane.admin.get(path(namespace, "a")))["metadata"]["uid"]
    stand.tell("new", [config_map("a", namespace)], id="id-same")
    await stand.until("new", "True")

    found = await control_plane.admin.get(path(namespace, "a"))
    assert found["metadata"]["uid"] == uid
    assert found["metadata"]["annotations"][schema.BUNDLE_ANNOTATION] == "new"


async def test_who_fights_is_named_and_left_alone(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace, color="red")])
    await stand.until("app", "True")
    for n in range(4):
        theirs = config_map("a", namespace, color=f"green{n}")
        await control_plane.admin.apply(path(namespace, "a"), theirs, owner="other-controller")
        if n < 3:

            async def is_back() -> bool:
                found = await control_plane.admin.get(path(namespace, "a"))
                return bool(found["data"] == {"color": "red"})

            await eventually(is_back)
    state = await stand.until("app", "False", schema.REASON_CONTESTED)

    assert "other-controller" in state.failing[0].message
    assert (await control_plane.admin.get(path(namespace, "a")))["data"] == {"color": "green3"}
    assert schema.EVENT_CONTESTED in stand.side.types()
    stand.tell("app", [config_map("a", namespace, color="blue")])
    await stand.until("app", "True")
