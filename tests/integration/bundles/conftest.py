"""An agent's bundles on the shared cluster, under the RBAC that the manifests give it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fleetbus.agent.manifests import manifests
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from tests.bundles_stand import Stand


@pytest.fixture(scope="session")
async def installed(control_plane: ControlPlane) -> ControlPlane:
    """The shared cluster with the agent's objects in it, profile full."""
    clock = SystemClock()
    async with KubeClient(KubeAccess.from_kubeconfig(control_plane.kubeconfig), clock) as owner:
        for one in manifests("full"):
            resource = await owner.resource(one["apiVersion"], one["kind"])
            metadata = one["metadata"]
            await owner.apply(
                resource,
                metadata.get("namespace", ""),
                metadata["name"],
                one,
                field_manager="test",
                force=True,
            )
    return control_plane


@pytest.fixture
async def kube(installed: ControlPlane, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """The agent's own client: its ServiceAccount, its rights."""
    async with (
        AgentFolder(installed, tmp_path / "agent") as folder,
        KubeClient(KubeAccess.from_folder(folder.dir), SystemClock()) as client,
    ):
        yield client


@pytest.fixture
async def stand(kube: KubeClient, namespace: str) -> AsyncIterator[Stand]:
    """Bundles at work; what they have made goes with the test's namespace and its own parents."""
    made = Stand(kube)
    async with made:
        yield made
    from fleetbus.agent.capabilities.bundles.observe import CONFIG_MAP
    from fleetbus.agent.capabilities.bundles.ownership import HOME, parent_name

    for id_ in {*made.entries, *made.retired, *(state.id for state in made.states().values())}:
        await kube.delete(CONFIG_MAP, HOME, parent_name(id_))


Objects = dict[str, dict[str, Any]]
