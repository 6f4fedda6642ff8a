"""Facts: what could not be read stays as it was known, since placement must not lose a cluster by it."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.agent.facts import MAX_NODES_READ, NODE, Observed, known_before, observe_facts
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import ApplyRefused, NotFound
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster

KNOWN = Observed(
    "v1.36.3", nodes=3, provider="aws", region="eu-west-1", issuer="https://issuer", keys=({"kid": "a"},)
)


class _Cluster(SimulatedKube):
    """A cluster of `count` nodes that may refuse to list them or to say who issues its tokens."""

    def __init__(self, count: int, *, refuses: bool = False) -> None:
        super().__init__(SimulatedCluster(SystemClock()))
        self._count = count
        self._refuses = refuses

    def _nodes(self, count: int) -> list[dict[str, Any]]:
        labels = {"topology.kubernetes.io/region": "us-east-1"}
        return [
            {
                "metadata": {"name": f"n{n}", "labels": labels},
                "spec": {"providerID": f"gce://n{n}"},
                "status": {"capacity": {"cpu": "2"}},
            }
            for n in range(count)
        ]

    async def list(self, resource: Resource, **options: Any) -> list[dict[str, Any]]:
        if resource != NODE:
            return await super().list(resource, **options)
        if self._refuses:
            raise ApplyRefused("nodes is forbidden")
        whole = self._nodes(self._count)
        return [{"metadata": node["metadata"]} for node in whole] if options.get("metadata_only") else whole

    async def read_path(self, path: str) -> dict[str, Any]:
        if path.startswith("/api/v1/nodes?limit="):
            return {"items": self._nodes(min(self._count, MAX_NODES_READ))}
        if self._refuses and path != "/version":
            raise NotFound("not served")
        return await super().read_path(path)


@pytest.mark.parametrize("count", [3, MAX_NODES_READ, MAX_NODES_READ + 1, 4 * MAX_NODES_READ])
async def test_provider_and_region_are_known_at_any_size(count: int) -> None:
    found = await observe_facts(_Cluster(count), KNOWN)
    assert (found.nodes, found.provider, found.region) == (count, "gce", "us-east-1")


async def test_what_may_not_be_read_stays_as_it_was_known() -> None:
    found = await observe_facts(_Cluster(3, refuses=True), KNOWN)
    assert (found.nodes, found.provider, found.region) == (3, "aws", "eu-west-1")
    assert (found.issuer, found.keys) == (KNOWN.issuer, KNOWN.keys)


def test_a_new_process_starts_from_the_last_report() -> None:
    assert known_before({"kubernetesVersion": "v1.36.3", "provider": "aws", "nodes": 2}).provider == "aws"
    assert known_before({}) == Observed("")
