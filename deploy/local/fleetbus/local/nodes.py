"""Nodes that kwok plays: what they are called, where they pretend to stand, what they offer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fleetbus.local.admin import Admin


@dataclass(frozen=True, slots=True)
class Nodes:
    """`provider` and `region` are what an agent finds out about its cluster: both come from the nodes."""

    count: int = 3
    region: str = "local"
    provider: str = "kwok"
    cpu: str = "8"
    memory: str = "32Gi"


async def create_nodes(admin: Admin, nodes: Nodes) -> None:
    """Apply all nodes; those that are there already stay what they are."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(nodes.count):
            tasks.create_task(_create(admin, node(nodes, number)))


def node(nodes: Nodes, number: int) -> dict[str, Any]:
    """The Node object of one of them."""
    name = f"node-{number}"
    zone = f"{nodes.region}-{'abc'[number % 3]}"
    capacity = {"cpu": nodes.cpu, "memory": nodes.memory, "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": nodes.region,
                "topology.kubernetes.io/zone": zone,
                "node.kubernetes.io/instance-type": "kwok",
            },
        },
        "spec": {"providerID": f"{nodes.provider}://{zone}/{name}"},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


async def _create(admin: Admin, body: dict[str, Any]) -> None:
    name = body["metadata"]["name"]
    if not await admin.exists(f"/api/v1/nodes/{name}"):
        await admin.create("/api/v1/nodes", body)
