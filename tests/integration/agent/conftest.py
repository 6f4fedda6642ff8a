"""A joined cluster: the bus with the fleet's accounts, a cluster with the agent's objects and its Secret."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetbus.agent.manifests import manifests
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.nkeys import key_of_seed
from tests.bus_server import FleetServer, fleet_server
from tests.teller import Teller, identity


@dataclass(frozen=True, slots=True)
class Joined:
    """A cluster that was joined as `c1`, who tells it, and the folder that its agent's pod would find."""

    cluster: ControlPlane
    server: FleetServer
    teller: Teller
    owner: KubeClient
    folder: Path


@pytest.fixture
async def joined(
    new_control_plane: ControlPlaneFactory, processes: Processes, server_dir: Path, tmp_path: Path
) -> AsyncIterator[Joined]:
    async with joining(await new_control_plane(), processes, server_dir, tmp_path) as one:
        yield one


@asynccontextmanager
async def joining(
    cluster: ControlPlane, processes: Processes, server_dir: Path, folder: Path
) -> AsyncIterator[Joined]:
    clock = SystemClock()
    async with (
        fleet_server(processes, server_dir, f"bus-{clock.identifier()}") as server,
        server.bus("controller") as bus,
        KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), clock) as owner,
    ):
        for one in manifests("full"):
            resource, metadata = await owner.resource(one["apiVersion"], one["kind"]), one["metadata"]
            place = metadata.get("namespace", "")
            await owner.apply(resource, place, metadata["name"], one, field_manager="test", force=True)
        kube_system = await cluster.admin.get("/api/v1/namespaces/kube-system")
        teller = Teller(bus, clock, identity(kube_system["metadata"]["uid"]))
        teller.agent_key = key_of_seed(server.seed("c1"))
        await _join(cluster, server, teller)
        async with AgentFolder(cluster, folder / "agent") as found:
            yield Joined(cluster, server, teller, owner, found.dir)


async def _join(cluster: ControlPlane, server: FleetServer, teller: Teller) -> None:
    who, settings = teller.identity, teller.settings()
    data = {
        "seed": server.seed("c1"),
        "jwt": server.credentials["c1"].token,
        "fleet": who.fleet,
        "realm": who.cluster.realm,
        "cluster": who.cluster.name,
        "uid": who.uid,
        "bus-servers": server.server.url,
        "bus-ca": server.ca_pem,
        "controller-keys": ",".join(settings.controller_keys),
        "epoch": "1",
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "fleetbus-agent", "namespace": "fleetbus-system"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
    await cluster.admin.create("/api/v1/namespaces/fleetbus-system/secrets", secret)


@pytest.fixture
async def agent_bus(joined: Joined) -> AsyncIterator[NatsBus]:
    async with joined.server.bus("c1") as bus:
        yield bus
