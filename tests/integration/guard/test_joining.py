"""`cluster join` on a cluster that is guarded: what its owner has changed stays."""

from __future__ import annotations

from fleetbus.cli.ceremony.guard import Allowed, guard_manifests, read_guard
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from tests.integration.guard.conftest import ALLOWED, BY_HAND


async def test_what_the_owner_changed_is_read_back(guarded: ControlPlane) -> None:
    async with KubeClient(KubeAccess.from_kubeconfig(guarded.kubeconfig), SystemClock()) as owner:
        standing = await read_guard(owner)
    assert standing == {**standing, **BY_HAND, **ALLOWED.expressions()}
    again = guard_manifests(Allowed(namespaces=("one",)), standing)
    found = {one["name"]: one["expression"] for one in again[0]["spec"]["variables"]}
    assert {name: found[name] for name in standing} == {**standing, "namespaces": "['one']"}


async def test_a_cluster_without_a_guard_has_no_parameters(new_control_plane: ControlPlaneFactory) -> None:
    cluster = await new_control_plane()
    async with KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), SystemClock()) as owner:
        assert await read_guard(owner) == {}
