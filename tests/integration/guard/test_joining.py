"""`cluster join` on a cluster that is guarded: what its owner has changed stays."""

from __future__ import annotations

from fleetbus.cli.ceremony.agent_pod import deployment
from fleetbus.cli.ceremony.guard import Allowed, guard_manifests, read_guard
from fleetbus.cli.ceremony.join import apply_objects, in_order
from fleetbus.cli.ceremony.manifests import agent_manifests
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from tests.integration.guard.conftest import ALLOWED, BY_HAND
from tests.waiting import wait_until

POLICY = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/fleetbus-guard"


async def test_what_the_owner_changed_is_read_back(guarded: ControlPlane) -> None:
    async with KubeClient(KubeAccess.from_kubeconfig(guarded.kubeconfig), SystemClock()) as owner:
        standing = await read_guard(owner)
    assert standing == {**standing, **BY_HAND, **ALLOWED.expressions()}
    again = guard_manifests(Allowed(namespaces=("one",)), standing)
    found = {one["name"]: one["expression"] for one in again[0]["spec"]["variables"]}
    assert {name: found[name] for name in standing} == {**standing, "namespaces": "['one']"}


async def test_a_guard_is_joined_with_the_agent(new_control_plane: ControlPlaneFactory) -> None:
    cluster = await new_control_plane()
    async with KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), SystemClock()) as owner:
        assert await read_guard(owner) == {}
        objects = [*agent_manifests(profile="full"), *guard_manifests(Allowed(registries=("h.example.com",)))]
        await apply_objects(owner, in_order([*objects, deployment("h.example.com/agent:1")]))
        assert (await read_guard(owner))["registries"] == "['h.example.com']"

    async def checked() -> bool:
        return "typeChecking" in ((await cluster.admin.get(POLICY)).get("status") or {})

    assert await wait_until(checked, SystemClock(), 20)
    assert (await cluster.admin.get(POLICY))["status"]["typeChecking"] == {}
