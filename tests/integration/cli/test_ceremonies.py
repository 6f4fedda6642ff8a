"""A fleet is made and a cluster joins it on real servers: bus, Vault and apiserver take what the ceremonies write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.folder import authority_file, vault_token_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_vault
from fleetbus.cli.ceremony.issue import sign
from fleetbus.cli.ceremony.join import apply_objects, in_order, make_vault_identity
from fleetbus.cli.ceremony.keys import FolderKeys, read_credential
from fleetbus.cli.ceremony.manifests import PROFILES, agent_manifests
from fleetbus.cli.ceremony.online import make_streams
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.share import share
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.jwks import public_keys
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault import VaultAccess, VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import AGENT, role_key_name, user_claims
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import NotPossible, VaultForbidden
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.streams import STREAMS
from fleetbus.schemas.subjects import ClusterId

CLOCK = SystemClock()


@dataclass(frozen=True)
class MadeFleet:
    """A fleet's folder and its running bus."""

    folder: Path
    record: FleetRecord
    server: NatsServer


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
    return BusSettings(servers, credential, inbox, "test", Trust(ca_file=authority_file(fleet.folder)))


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


async def _token(cluster: ControlPlane, audience: str) -> str:
    path = "/api/v1/namespaces/fleetbus-system/serviceaccounts/fleetbus-agent/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 600},
    }
    token: str = (await cluster.admin.create(path, body))["status"]["token"]
    return token


async def test_a_member_reads_its_own_secrets_and_no_others(
    fleet: MadeFleet, openbao: OpenBao, control_plane: ControlPlane, tmp_path: Path
) -> None:
    cluster, key = ClusterId("main", "dev-eu"), SigningKey.generate()
    record, keys = read_record(fleet.folder), FolderKeys(fleet.folder)
    name = role_key_name("AGENTS_main", AGENT)
    issued = int(CLOCK.now().timestamp())
    claims = user_claims(public_key(key), "dev-eu", "AGENTS_main", AGENT, record.keys, issued)
    credential = Credential(await sign(claims, await keys.find(name, Kind.ACCOUNT)), seed_of(key))
    async with (
        KubeClient(KubeAccess.from_kubeconfig(control_plane.kubeconfig), CLOCK) as kube,
        VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin,
    ):
        await apply_objects(kube, in_order(agent_manifests()))
        token_keys = public_keys(await kube.read_path("/openid/v1/jwks"))
        entity = await make_vault_identity(admin, cluster, token_keys)
        assert entity == await make_vault_identity(admin, cluster, token_keys)
        await admin.disable_entity("fleet_main_dev-eu")
        with pytest.raises(NotPossible, match="was revoked"):
            await make_vault_identity(admin, cluster, token_keys)
        await admin.disable_entity("fleet_main_dev-eu", False)

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


async def test_a_group_reads_what_its_owner_shared(fleet: MadeFleet, openbao: OpenBao) -> None:
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        assert await share("payments-ca", admin) == "shared/payments-ca"
        assert await share("payments-ca", admin) == "shared/payments-ca"
        assert await admin.group_members("fleetbus-payments-ca") == frozenset()


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_shipped(profile: str) -> None:
    assert len(agent_manifests(profile=profile)) > 5
