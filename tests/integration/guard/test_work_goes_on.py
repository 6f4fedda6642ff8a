"""What a fleet is for passes the guard: the demo's shop, its own records, and what the owner has named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

import fleetbus.local.demo
from fleetbus.local.admin import Admin
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from tests.bundles_stand import Stand
from tests.integration.guard.attempts import apps, batch, core, rbac
from tests.integration.guard.conftest import give
from tests.integration.guard.objects import (
    AGENT,
    GOOD,
    Object,
    binding,
    cron_job,
    deployment,
    job,
    pod,
    role,
    rule,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from fleetbus.runtime.ports import Kube

SHOP = Path(fleetbus.local.demo.__file__).parent / "shop"
_DRY = {"dryRun": "All"}


def _of(folder: Path) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [one for text in texts for one in yaml.safe_load_all(text)]


async def test_the_demo_shop_is_applied_and_pruned(
    agent: Admin, guarded: ControlPlane, agent_kube: KubeClient
) -> None:
    """As a bundle, by the capability itself, with its record, a definition and roles."""
    async with KubeClient(KubeAccess.from_kubeconfig(guarded.kubeconfig), SystemClock()) as owner:
        await give(owner, _of(SHOP / "owner"))
    objects = _of(SHOP / "base")
    async with Stand(agent_kube) as stand:
        stand.tell("shop", objects)
        await stand.until("shop", "True", type_="Applied")
        assert await guarded.admin.exists(apps("shop", "deployments", "web"))
        stand.retire("shop", count=len(objects))

        async def gone() -> bool:
            return not await guarded.admin.exists(apps("shop", "deployments", "web"))

        assert await wait_until(gone, SystemClock(), 20)


LEGITIMATE: tuple[tuple[str, str, Object], ...] = (
    ("a CronJob", batch("store", "cronjobs"), cron_job("store", "y", GOOD)),
    (
        "a digest",
        core("store-open", "pods"),
        pod("store-open", "y", f"registry.example.com/a/b@sha256:{'0' * 64}"),
    ),
    (
        "the team's path",
        core("store-open", "pods"),
        pod("store-open", "y", "registry.example.com:5000/team/x:2"),
    ),
    ("a command's Job", batch("fleetbus-system", "jobs"), job("fleetbus-system", "fleetbus-y", GOOD)),
    (
        "a privileged pod where allowed",
        core("store-nodes", "pods"),
        pod("store-nodes", "y", GOOD, hostNetwork=True),
    ),
    ("a trusted account", core("store", "pods"), pod("store", "y", GOOD, serviceAccountName="trusted")),
    (
        "a role that reads",
        rbac("clusterroles"),
        role("ClusterRole", "y", [rule(["", "apps"], ["pods", "deployments"], "get", "list", "watch")]),
    ),
    (
        "a role over its own kinds",
        rbac("clusterroles"),
        role(
            "ClusterRole", "y", [rule(["example.com"], ["*"], "*"), rule([""], ["events"], "create", "patch")]
        ),
    ),
    (
        "a trusted role",
        rbac("clusterroles"),
        role("ClusterRole", "trusted-y", [rule([""], ["pods"], "create")]),
    ),
    (
        "a binding",
        rbac("clusterrolebindings"),
        binding("ClusterRoleBinding", "y", "y", [("ServiceAccount", "web", "store"), ("Group", "team", "")]),
    ),
    (
        "a role of the system that is named",
        rbac("clusterrolebindings"),
        binding("ClusterRoleBinding", "y", "system:auth-delegator", [("ServiceAccount", "web", "store")]),
    ),
    (
        "a generated name",
        core("store", "configmaps"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "y-"}},
    ),
    (
        "a template that is no pod's",
        "/apis/example.com/v1/namespaces/store/rollouts",
        {
            "apiVersion": "example.com/v1",
            "kind": "Rollout",
            "metadata": {"name": "y"},
            "spec": {"template": "text"},
        },
    ),
    (
        "a spec that is a text",
        "/apis/example.com/v1/namespaces/store/rollouts",
        {"apiVersion": "example.com/v1", "kind": "Rollout", "metadata": {"name": "y"}, "spec": "text"},
    ),
    (
        "a question to the apiserver",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {"verb": "create", "resource": "configmaps", "namespace": "store"}
            },
        },
    ),
)


@pytest.mark.parametrize(
    ("path", "body"), [one[1:] for one in LEGITIMATE], ids=[one[0] for one in LEGITIMATE]
)
async def test_it_passes(agent: Admin, path: str, body: Object) -> None:
    await agent.request("POST", path, body, query=_DRY)


async def test_the_agent_may_be_renewed_from_its_own_repository(agent: Admin) -> None:
    body = {
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "a", "image": "registry.example.com/fleetbus/agent:2"}]}
            }
        }
    }
    await agent.request(
        "PATCH",
        apps("fleetbus-system", "deployments", AGENT),
        body,
        content_type="application/strategic-merge-patch+json",
        query=_DRY,
    )


async def test_scaling_and_ephemeral_containers_pass_once_they_are_named(agent: Admin) -> None:
    patch = {"spec": {"ephemeralContainers": [{"name": "e", "image": GOOD, "targetContainerName": "a"}]}}
    kind = "application/strategic-merge-patch+json"
    path = core("store", "pods", "stands/ephemeralcontainers")
    await agent.request("PATCH", path, patch, content_type=kind, query=_DRY)
    scale = {"spec": {"replicas": 2}}
    path = apps("store", "deployments", "stands/scale")
    await agent.request("PATCH", path, scale, content_type="application/merge-patch+json", query=_DRY)


class Counted:
    """The agent's client, with its applies counted."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self.applied = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, *place: Any, **how: Any) -> dict[str, Any]:
        self.applied += 1
        return await self._kube.apply(*place, **how)


async def test_what_is_refused_is_said_once_and_not_tried_in_a_storm(agent_kube: KubeClient) -> None:
    """A bundle whose image is from a stranger: its condition says who can do what."""
    counted = Counted(agent_kube)
    async with Stand(cast("Kube", counted)) as stand:
        stand.tell("strange", [deployment("store", "strange", "evil.io/x:1")])
        await stand.until("strange", "False", "ApplyRefused", type_="Applied")
        condition = stand.condition("strange", "Applied")
        assert condition is not None
        assert "fleetbus-guard" in condition.message
        assert "evil.io/x:1 is from no allowed registry" in condition.message
        assert "`registries`" in condition.message
        first, clock = counted.applied, SystemClock()

        async def tried_again() -> bool:
            return counted.applied >= first + 4

        # Half a second, one, two, four: pauses double, so that half a minute holds seven and not hundreds.
        began_s = clock.monotonic_s()
        assert await wait_until(tried_again, clock, 30)
        assert clock.monotonic_s() - began_s > 3
        stand.retire("strange", count=0)


async def test_a_bundle_never_reaches_the_guard(agent_kube: KubeClient) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "fleetbus-guard"},
        "spec": {"policyName": "none", "validationActions": ["Warn"]},
    }
    async with Stand(agent_kube) as stand:
        stand.tell("sly", [policy])
        await stand.until("sly", "False", "ApplyRefused", type_="Applied")
        condition = stand.condition("sly", "Applied")
        assert condition is not None
        assert "the agent's own place" in condition.message
        stand.retire("sly", count=0)
