"""A fleet is made and a cluster joins it on real servers: bus, Vault and apiserver take what the ceremonies write."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fleetbus.cli.ceremony.admit import JoinRequest
from fleetbus.cli.ceremony.folder import authority_file, vault_token_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_vault
from fleetbus.cli.ceremony.join import Joined, join
from fleetbus.cli.ceremony.keys import FolderKeys, read_credential
from fleetbus.cli.ceremony.leave import leave_bus, leave_vault, share
from fleetbus.cli.ceremony.manifests import PROFILES, agent_manifests
from fleetbus.cli.ceremony.online import make_streams, push_accounts
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.vault import VaultAccess, VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import NotFound, VaultForbidden
from fleetbus.schemas.streams import STREAMS
from fleetbus.schemas.subjects import ClusterId
from tests.unit.cli.fleet_of_three import Answers, run
from tests.waiting import wait_until

CLOCK = SystemClock()


@dataclass(frozen=True)
class MadeFleet:
    """A fleet's folder, its running bus, and how a ceremony tells the bus of a change."""

    folder: Path
    record: FleetRecord
    server: NatsServer

    async def push(self, names: Sequence[str]) -> None:
        await push_accounts(self.folder, names, CLOCK)


@pytest.fixture(scope="module")
async def fleet(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao
) -> AsyncIterator[MadeFleet]:
    folder = tmp_path_factory.mktemp("fleet")
    server = NatsServer(processes, folder / "nats", 'include "server.conf"', name="nats-ceremony")
    plan = FleetPlan("demo", ("127.0.0.1",), server.reserve(), listen_host="127.0.0.1")
    record = await make_fleet(folder, plan, FolderKeys(folder), CLOCK.now())
    place = VaultPlace(address=openbao.address, ca=openbao.ca_file.read_text())
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        record = await make_vault(admin, place, folder)
    async with server:
        await make_streams(folder, CLOCK)
        yield MadeFleet(folder, record, server)


def _settings(fleet: MadeFleet, credential: Credential, inbox: str) -> BusSettings:
    servers = fleet.record.bus_servers
    return BusSettings(servers, credential, inbox, "test", ca_file=str(authority_file(fleet.folder)))


async def test_streams_are_there_and_stay(fleet: MadeFleet) -> None:
    await make_streams(fleet.folder, CLOCK)
    credential = read_credential(fleet.folder, "controller")
    async with NatsBus(_settings(fleet, credential, subjects.CONTROLLER_INBOX), CLOCK) as bus:
        await bus.wait_connected()
        for stream in STREAMS:
            message = await bus.request(subjects.stream_info(stream.name), b"")
            assert f'"name":"{stream.name}"'.encode() in message.data.replace(b" ", b"")


async def test_the_controllers_token_reads_no_value(fleet: MadeFleet, openbao: OpenBao) -> None:
    await openbao.request("POST", "secret/data/main/dev-eu/x", {"data": {"word": "hidden"}})
    token = vault_token_file(fleet.folder).read_text().strip()
    again = await _vault_again(fleet, openbao)
    assert vault_token_file(fleet.folder).read_text().strip() == token
    assert again == fleet.record
    async with VaultAdmin(openbao.address, token, openbao.ca_file) as controller:
        with pytest.raises(VaultForbidden):
            await controller.versions("main/dev-eu/x")
        with pytest.raises(VaultForbidden):
            await controller.write_policy("fleetbus-cluster", "")


async def test_a_controllers_token_that_has_ended_is_made_anew(fleet: MadeFleet, openbao: OpenBao) -> None:
    file = vault_token_file(fleet.folder)
    token = file.read_text().strip()
    await openbao.request("POST", "auth/token/revoke", {"token": token})
    await _vault_again(fleet, openbao)
    made = file.read_text().strip()
    assert made != token
    async with VaultAdmin(openbao.address, made, openbao.ca_file) as controller:
        assert await controller.is_alive(made)
        assert not await controller.is_alive(token)
        assert await controller.renew_own_token() > 24 * 3600


async def _vault_again(fleet: MadeFleet, openbao: OpenBao) -> FleetRecord:
    record = read_record(fleet.folder)
    assert record.vault is not None
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        return await make_vault(admin, record.vault, fleet.folder)


async def _join(fleet: MadeFleet, openbao: OpenBao, cluster: ControlPlane, *, write: bool = True) -> Joined:
    access = KubeAccess.from_kubeconfig(cluster.kubeconfig)
    async with (
        KubeClient(access, CLOCK) as kube,
        VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin,
    ):
        return await join(
            JoinRequest("dev-eu", labels={"env": "dev"}),
            fleet.folder,
            kube,
            agent_manifests(),
            FolderKeys(fleet.folder),
            CLOCK.now(),
            vault=admin,
            push=fleet.push,
            write_objects=write,
        )


async def _token(cluster: ControlPlane, audience: str) -> str:
    path = "/api/v1/namespaces/fleetbus-system/serviceaccounts/fleetbus-agent/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 600},
    }
    token: str = (await cluster.admin.create(path, body))["status"]["token"]
    return token


async def test_a_cluster_joins_speaks_and_leaves(
    fleet: MadeFleet, openbao: OpenBao, control_plane: ControlPlane, tmp_path: Path
) -> None:
    first = await _join(fleet, openbao, control_plane, write=False)
    with pytest.raises(NotFound):
        await control_plane.admin.get("/api/v1/namespaces/fleetbus-system/secrets/fleetbus-agent")
    assert [one for one in first.objects if one["kind"] == "Secret"]
    joined = await _join(fleet, openbao, control_plane)
    again = await _join(fleet, openbao, control_plane)
    assert (again.document, again.nkey) == (joined.document, joined.nkey)

    stored = await control_plane.admin.get("/api/v1/namespaces/fleetbus-system/secrets/fleetbus-agent")
    token, seed = (base64.b64decode(stored["data"][key]).decode() for key in ("jwt", "seed"))
    credential = Credential(token, seed)
    cluster = ClusterId("main", "dev-eu")
    inbox = subjects.inbox("main", "dev-eu")
    async with NatsBus(_settings(fleet, credential, inbox), CLOCK) as bus:
        await bus.wait_connected()
        assert await bus.get_last("DESIRED", subjects.desired(cluster)) is None

        token_file = tmp_path / "vault-token"
        token_file.write_text(await _token(control_plane, "vault"))
        await openbao.request("POST", "secret/data/main/dev-eu/own", {"data": {"word": "mine"}})
        await openbao.request("POST", "secret/data/main/prod-us/other", {"data": {"word": "theirs"}})
        access = VaultAccess(
            openbao.address, "fleet_main_dev-eu", "fleetbus-agent", token_file, openbao.ca_file
        )
        async with VaultClient(access, CLOCK) as vault:
            assert dict((await vault.read("main/dev-eu/own")).values) == {"word": "mine"}
            with pytest.raises(VaultForbidden):
                await vault.read("main/prod-us/other")

        keys = FolderKeys(fleet.folder)
        await leave_bus(cluster, fleet.folder, keys, CLOCK.now(), fleet.push, lambda line: None)
        assert await wait_until(_gone(bus), CLOCK, 10)
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        await leave_vault(cluster, admin, lambda line: None)
        await leave_vault(cluster, admin, lambda line: None)
    async with VaultClient(access, CLOCK) as vault:
        with pytest.raises(VaultForbidden):
            await vault.read("main/dev-eu/own")


def _gone(bus: NatsBus) -> Callable[[], Awaitable[bool]]:
    async def gone() -> bool:
        return not bus.connected

    return gone


async def test_a_group_reads_what_its_owner_shared(fleet: MadeFleet, openbao: OpenBao) -> None:
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        assert await share("payments-ca", admin) == "shared/payments-ca"
        assert await share("payments-ca", admin) == "shared/payments-ca"
        assert await admin.group_members("fleetbus-payments-ca") == frozenset()


async def test_the_command_joins_and_prints(
    fleet: MadeFleet, openbao: OpenBao, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setenv("VAULT_TOKEN", openbao.root_token)
    arguments = ("cluster", "join", "edge", "--fleet-dir", str(fleet.folder))
    options = ("--kubeconfig", str(control_plane.kubeconfig), "--label", "env=edge")
    answers = Answers()
    ran = await asyncio.to_thread(run, answers, *arguments, *options, "--print", "--image", "agent:1")
    assert ran.code == 0, ran.err
    kinds = [one["kind"] for one in yaml.safe_load_all(ran.out)]
    assert {"Namespace", "ServiceAccount", "Secret", "Deployment"} <= set(kinds)
    assert "seed" in ran.err
    (verb, documents) = answers.asked[0]
    assert (verb, documents[0]["metadata"]) == ("apply", {"name": "edge", "labels": {"env": "edge"}})
    key = documents[0]["spec"]["key"]
    before = read_record(fleet.folder).revoked_at("AGENTS_main", key)
    removing = ("cluster", "remove", "edge", "--fleet-dir", str(fleet.folder), "--yes")
    ran = await asyncio.to_thread(run, Answers(), *removing)
    assert ran.code == 0, ran.err
    assert "user of edge revoked\n" in ran.out
    assert "bus told of AGENTS_main\n" in ran.out
    assert read_record(fleet.folder).revoked_at("AGENTS_main", key) > before


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_shipped(profile: str) -> None:
    assert len(agent_manifests(profile=profile)) > 5
