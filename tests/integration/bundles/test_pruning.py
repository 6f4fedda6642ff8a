"""Only what a bundle made is ever pruned; much of it is held; a retired bundle goes, is kept, or waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities import bundles as schema
from tests.bundles_stand import Stand, config_map
from tests.waiting import wait_until


def path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 15.0) -> None:
    assert await wait_until(condition, SystemClock(), timeout_s, 0.02)


async def names(control_plane: ControlPlane, namespace: str) -> set[str]:
    found = await control_plane.admin.get(f"/api/v1/namespaces/{namespace}/configmaps")
    return {one["metadata"]["name"] for one in found["items"]} - {"kube-root-ca.crt"}


async def until_names(control_plane: ControlPlane, namespace: str, wanted: set[str]) -> None:
    async def holds() -> bool:
        return await names(control_plane, namespace) == wanted

    await eventually(holds)


async def test_an_object_that_left_the_bundle_is_pruned(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    await control_plane.admin.create(
        f"/api/v1/namespaces/{namespace}/configmaps", config_map("foreign", namespace)
    )
    objects = [config_map(f"c{n}", namespace) for n in range(6)]
    stand.tell("app", objects)
    await stand.until("app", "True")
    stand.tell("app", objects[1:])
    await until_names(control_plane, namespace, {"foreign", "c1", "c2", "c3", "c4", "c5"})
    await stand.side.until(lambda: schema.EVENT_PRUNED in stand.side.types())


async def test_a_large_prune_is_held_until_its_count_is_released(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    objects = [config_map(f"c{n}", namespace) for n in range(10)]
    stand.tell("app", objects)
    await stand.until("app", "True")
    stand.tell("app", [])
    state = await stand.until("app", "False", schema.REASON_PRUNE_HELD)
    assert state.held_prunes == 10
    assert len(await names(control_plane, namespace)) == 10

    stand.tell("app", [], released=9)
    await stand.until("app", "False", schema.REASON_PRUNE_HELD)
    assert len(await names(control_plane, namespace)) == 10

    stand.tell("app", [], released=10)
    await until_names(control_plane, namespace, set())
    await stand.until("app", "True")
    assert schema.EVENT_HELD in stand.side.types()


async def test_a_brake_does_not_loosen_as_a_bundle_grows(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map(f"c{n}", namespace) for n in range(10)])
    await stand.until("app", "True")
    stand.tell("app", [config_map(f"d{n}", namespace) for n in range(60)])
    state = await stand.until("app", "False", schema.REASON_PRUNE_HELD)

    assert state.held_prunes == 10
    await stand.__aexit__(None, None, None)
    await stand.__aenter__()
    stand.say()
    await stand.until("app", "False", schema.REASON_PRUNE_HELD)
    assert len(await names(control_plane, namespace)) == 70


async def test_what_is_no_longer_ours_or_marked_stays(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    marked = config_map("marked", namespace)
    marked["metadata"]["annotations"] = {schema.PRUNE_ANNOTATION: "disabled"}
    objects = [config_map("a", namespace), marked, *(config_map(f"c{n}", namespace) for n in range(8))]
    stand.tell("app", objects)
    await stand.until("app", "True")
    stand.tell("app", [*objects[2:], config_map("new", namespace)])

    await until_names(control_plane, namespace, {"marked", "new", *(f"c{n}" for n in range(8))})


async def test_a_retired_bundle_is_removed_with_a_receipt(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map(f"c{n}", namespace) for n in range(8)])
    await stand.until("app", "True")
    stand.retire("app")
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed)

    state = stand.state("app")
    assert state is not None
    assert (state.pruned, await names(control_plane, namespace)) == (8, set())
    assert stand.side.types()[-1] == schema.EVENT_REMOVED

    await stand.__aexit__(None, None, None)
    await stand.__aenter__()
    stand.side.bodies.clear()
    stand.say()
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed)
    state = stand.state("app")
    assert state is not None
    assert state.pruned == 8


async def test_a_retirement_of_more_than_was_counted_is_held(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map(f"c{n}", namespace) for n in range(4)])
    await stand.until("app", "True")
    stand.retire("app", count=3)
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.held_prunes == 4)
    assert len(await names(control_plane, namespace)) == 4


async def test_a_kept_bundle_leaves_its_objects_to_nobody(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace)])
    await stand.until("app", "True")
    stand.retire("app", policy="Keep")
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed)

    found = await control_plane.admin.get(path(namespace, "a"))
    assert "applyset.kubernetes.io/part-of" not in found["metadata"].get("labels", {})
    state = stand.state("app")
    assert state is not None
    assert state.pruned == 0


async def test_a_finalizer_is_named_and_waited_for(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    held = config_map("held", namespace)
    held["metadata"]["finalizers"] = ["example.com/wait"]
    stand.tell("app", [held, config_map("free", namespace)])
    await stand.until("app", "True")
    stand.retire("app")

    def is_named() -> bool:
        condition = stand.condition("app", schema.APPLIED)
        return condition is not None and "example.com/wait" in condition.message

    await stand.side.until(is_named)
    await control_plane.admin.merge(path(namespace, "held"), {"metadata": {"finalizers": None}})
    await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed)


async def test_a_bundle_in_no_list_is_kept_and_told(
    stand: Stand, control_plane: ControlPlane, namespace: str
) -> None:
    stand.tell("app", [config_map("a", namespace)])
    await stand.until("app", "True")
    stand.forget("app")
    await stand.side.until(
        lambda: (one := stand.condition("app")) is not None and one.reason == schema.REASON_KEPT
    )
    assert await control_plane.admin.exists(path(namespace, "a"))
