"""A cluster of its own, guarded as its owner would, with an agent that was given more by RBAC than it should have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetbus.agent.manifests import manifests
from fleetbus.cli.ceremony.guard import Allowed, guard_manifests
from fleetbus.local.admin import Admin
from fleetbus.local.build import Binaries
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.processes import Processes
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.errors import ApplyRefused
from tests.approvers import protection
from tests.integration.guard.objects import (
    AGENT,
    binding,
    config_map,
    deployment,
    meta,
    role,
    rule,
    service_account,
    template,
)
from tests.waiting import wait_until

ALLOWED = Allowed(
    namespaces=("store", "store-*", "shop"),
    registries=("registry.example.com", "registry.example.com:5000/team"),
    agent_image="registry.example.com/fleetbus/agent:1",
)
BY_HAND = {
    "kinds": "['*', 'ClusterRole.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io',"
    " 'CustomResourceDefinition.apiextensions.k8s.io', 'APIService.apiregistration.k8s.io']",
    "privileged": "['store-nodes']",
    "roles": "['trusted-*', 'system:auth-delegator']",
    "deniedRoles": "['owners-power']",
    "trustedAccounts": "['store/trusted']",
    "subresources": "['pods/ephemeralcontainers', 'deployments/scale', 'pods/status']",
}
"""What the owner has changed in the policy itself, so that more than the first check is met."""

CARELESS = role(
    "ClusterRole",
    "careless",
    [
        {
            "apiGroups": [""],
            "resources": [
                "pods/ephemeralcontainers",
                "pods/status",
                "pods/exec",
                "pods/eviction",
                "pods/binding",
                "serviceaccounts/token",
                "namespaces/finalize",
                "namespaces/status",
                "nodes",
                "persistentvolumes",
                "podtemplates",
                "replicationcontrollers",
            ],
            "verbs": ["get", "list", "create", "update", "patch", "delete"],
        },
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "update", "patch"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["create", "update", "patch"],
        },
        {"apiGroups": ["agent.fleetbus.dev"], "resources": ["protections"], "verbs": ["*"]},
        {"apiGroups": ["example.com"], "resources": ["rollouts"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["deletecollection"]},
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts"],
            "resourceNames": ["deployer"],
            "verbs": ["impersonate"],
        },
        {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests"],
            "verbs": ["create"],
        },
    ],
    labels={"fleetbus.dev/aggregate-to-agent": "true"},
)
DEPLOYER = "system:serviceaccount:store:deployer"
"""An account that the owner lets the agent impersonate, and has named to the guard."""

POWERFUL = [
    service_account("store", "deployer"),
    binding("ClusterRoleBinding", "deployer", "careless", [("ServiceAccount", "deployer", "store")]),
    binding("ClusterRoleBinding", "deployer-edit", "edit", [("ServiceAccount", "deployer", "store")]),
    service_account("store", "powerful"),
    service_account("store", "lifter"),
    role("ClusterRole", "lifter", [rule(["agent.fleetbus.dev"], ["protections"], "patch")]),
    binding("ClusterRoleBinding", "lifter", "lifter", [("ServiceAccount", "lifter", "store")]),
    service_account("store", "trusted"),
    binding("ClusterRoleBinding", "powerful", "cluster-admin", [("ServiceAccount", "powerful", "store")]),
    binding("ClusterRoleBinding", "trusted", "cluster-admin", [("ServiceAccount", "trusted", "store")]),
    role("ClusterRole", "owners-power", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
]
ROLLOUTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rollouts.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Rollout", "listKind": "RolloutList", "plural": "rollouts", "singular": "rollout"},
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


async def give(owner: KubeClient, objects: Iterable[Mapping[str, Any]]) -> None:
    for one in objects:
        resource, metadata = await owner.resource(one["apiVersion"], one["kind"]), one["metadata"]
        place = metadata.get("namespace", "")
        await owner.apply(resource, place, metadata["name"], dict(one), field_manager="owner", force=True)


@pytest.fixture(scope="session")
async def guarded(processes: Processes, server_dir: Path, binaries: Binaries) -> AsyncIterator[ControlPlane]:
    """Profile full, the guard, and what an owner has besides. The guard is in force when this begins."""
    cluster = ControlPlane(processes, server_dir / "guarded", binaries, "guarded")
    async with (
        cluster,
        KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), SystemClock()) as owner,
    ):
        spaces = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in {
                "store": {"pod-security.kubernetes.io/enforce": "baseline"},
                "store-open": {},
                "store-nodes": {},
                "storefront": {},
                "other": {},
            }.items()
        ]
        await give(owner, [*manifests("full"), *spaces, CARELESS, *POWERFUL, ROLLOUTS])
        image = "registry.example.com/fleetbus/agent:1"
        await give(owner, [protection(2)])
        own = deployment("fleetbus-system", AGENT, image, serviceAccountName=AGENT)
        await give(owner, [own, deployment("store", "stands", "registry.example.com/a:1")])
        await give(owner, [config_map("kube-system", "theirs"), config_map("other", "theirs")])
        pod = {
            **own["spec"]["template"],
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta("stands", "store"),
        }
        pod["spec"] = {"containers": own["spec"]["template"]["spec"]["containers"]}
        theirs = {**pod, "metadata": meta("theirs", "other")}
        policy, rest = guard_manifests(ALLOWED, BY_HAND)
        condition = policy["spec"]["matchConditions"][0]
        condition["expression"] = condition["expression"].replace("['", f"['{DEPLOYER}', '", 1)
        await give(owner, [pod, theirs, policy, rest])
        async with AgentFolder(cluster, server_dir / "guarded-agent") as folder:
            token = (folder.dir / "token").read_text()
            async with Admin(cluster.server, cluster.pki, token=token) as agent:
                assert await wait_until(lambda: _holds(agent), SystemClock(), timeout_s=30)
        yield cluster


async def _holds(agent: Admin) -> bool:
    """The policy is in force, and so is what was added to the agent's rights."""
    body = {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"generateName": "probe-"},
        "template": template("registry.example.com/a:1"),
    }
    try:
        await agent.request("POST", "/api/v1/namespaces/other/podtemplates", body, query={"dryRun": "All"})
    except ApplyRefused as error:
        return "fleetbus-guard" in error.message
    return False


@pytest.fixture(scope="session")
async def agent(guarded: ControlPlane, server_dir: Path) -> AsyncIterator[Admin]:
    """Whoever holds the agent's token, with any request that he likes."""
    async with AgentFolder(guarded, server_dir / "stolen") as folder:
        token = (folder.dir / "token").read_text()
        async with Admin(guarded.server, guarded.pki, token=token) as requests:
            yield requests


@pytest.fixture
async def agent_kube(guarded: ControlPlane, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """The client of the agent itself."""
    async with (
        AgentFolder(guarded, tmp_path / "agent") as folder,
        KubeClient(KubeAccess.from_folder(folder.dir), SystemClock()) as client,
    ):
        yield client
