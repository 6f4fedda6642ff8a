"""The owner's ceremonies for a local fleet, by the functions behind `fleetbus init` and `fleetbus cluster join`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fleetbus.cli.ceremony import handing
from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.folder import credential_file
from fleetbus.cli.ceremony.guard import guard_manifests
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_vault
from fleetbus.cli.ceremony.join import JoinRequest
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.manifests import agent_manifests
from fleetbus.cli.ceremony.online import make_streams
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.cluster_join import join_cluster, pinned_by
from fleetbus.cli.cluster_vault import wait_enrolled, write_vault
from fleetbus.client import Context, Fleet, save_context
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.members import Member
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import Resource
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import NotFound

_SECRETS = Resource("", "v1", "secrets", "Secret", True)
FLEET = "local"
OPERATOR = "admin"
SUBSCRIBER = "events"
BUS_CONFIGURATION = 'include "server.conf"'
"""What nats-server is told: the file that the ceremonies write."""


async def found(folder: Path, bus_port: int) -> FleetRecord:
    """The offline half of `fleetbus init`; what is there stays as it is."""
    plan = FleetPlan(
        FLEET,
        ("127.0.0.1",),
        bus_port,
        listen_host="127.0.0.1",
        operators=(OPERATOR,),
        subscribers=(SUBSCRIBER,),
    )
    record = await make_fleet(folder, plan, FolderKeys(folder), SystemClock().now())
    _allow_local_sources(folder / "controller.json")
    return record


def _allow_local_sources(file: Path) -> None:
    """A local fleet is its user's own: it may read whatever repository its user can."""
    settings = json.loads(file.read_text())
    write_whole(file, json.dumps({**settings, "localSources": ["/"]}, indent=2) + "\n")


async def finish(folder: Path, vault: OpenBao) -> FleetRecord:
    """Vault's part and the streams: both servers run."""
    place = VaultPlace(address=vault.address, ca=vault.ca_file.read_text())
    async with (
        VaultAdmin(vault.address, vault.root_token, vault.ca_file) as admin,
        asyncio.TaskGroup() as tasks,
    ):
        making = tasks.create_task(make_vault(admin, place, folder))
        tasks.create_task(make_streams(folder, SystemClock()))
    return making.result()


def credential_of(folder: Path, user: str) -> Path:
    """The file with the credential of the operator or of the subscriber."""
    return credential_file(folder, f"{'operator' if user == OPERATOR else 'subscriber'}-{user}")


def context(folder: Path, user: str) -> Context:
    """How a user reaches the fleet that was made in `folder`."""
    return handing.context(folder, read_record(folder), FLEET, user, credential_of(folder, user))


def write_context(file: Path, folder: Path) -> None:
    """The operator's context as the command reads it."""
    save_context(context(folder, OPERATOR), file=file)


async def join_member(member: Member, folder: Path, cluster: ControlPlane, fleet: Fleet) -> str:
    """The agent's objects, with a token, in one cluster; the UID of its kube-system.

    Without a Deployment: the agent runs as a process of this machine, and kwok would only play its pod.
    """
    request = JoinRequest(member.name, labels=member.labels, reason="local fleet")
    pinned = await asyncio.to_thread(pinned_by, folder, "", ())
    manifests = await asyncio.to_thread(agent_manifests, profile="full")
    manifests += guard_manifests()
    async with KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), SystemClock()) as kube:
        return await join_cluster(fleet, kube, request, pinned, manifests)


async def is_member(kubeconfig: Path) -> bool:
    """Whether the cluster's agent has a membership from an earlier start."""
    async with KubeClient(KubeAccess.from_kubeconfig(kubeconfig), SystemClock()) as kube:
        try:
            found = await kube.get(_SECRETS, AGENT_NAMESPACE, AGENT_NAME)
        except NotFound:
            return False
        return bool((found.get("data") or {}).get("jwt"))


async def finish_member(name: str, uid: str, vault: OpenBao, fleet: Fleet, timeout_s: float) -> None:
    """Vault's part of a cluster, once its agent has enrolled."""
    row = await wait_enrolled(fleet, name, uid, timeout_s, SystemClock())
    await write_vault(fleet, row, vault.dir / "root-token", lambda line: None)
