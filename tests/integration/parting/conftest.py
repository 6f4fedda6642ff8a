"""A fleet on three servers with its Vault and a controller, and clusters that join it by hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.folder import authority_file, credential_file, server_folder
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_vault
from fleetbus.cli.ceremony.keys import FolderKeys, read_credential
from fleetbus.cli.ceremony.online import make_streams
from fleetbus.cli.ceremony.record import Node, read_record
from fleetbus.client.context import Context, save_context
from fleetbus.local.nats import NatsServer
from fleetbus.local.ports import free_port, is_free
from fleetbus.local.processes import Processes, together
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault import VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import OPERATORS, role_key_name
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.nkeys import seed_of
from fleetbus.schemas.roles import ROLES
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, OPERATORS_BY_ROLE, FleetServer
from tests.integration.controller.enrolling import Candidate, Token, admitted_token
from tests.integration.controller.people import Operator, controlling
from tests.vault_cluster import VaultCluster, join
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process of the command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Member:
    """A cluster that has joined: its key, its two users on the bus, and its identity in Vault."""

    cluster: ClusterId
    candidate: Candidate
    user: Credential
    renewer: Credential
    vault: VaultCluster


@dataclass(frozen=True, slots=True)
class Stand:
    """`fleet` reaches the first of the three servers; `environment` is that of the fleet's owner."""

    fleet: FleetServer
    servers: tuple[NatsServer, ...]
    openbao: OpenBao
    operator: Operator
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.fleet.folder

    def settings(self, server: int, member: Member) -> BusSettings:
        """Those of its agent, on one server alone."""
        inbox = subjects.inbox(member.cluster.realm, member.cluster.name)
        url = self.servers[server].url
        return BusSettings((url,), member.user, inbox, "agent", trust=Trust(ca_pem=self.fleet.ca_pem))

    def agent(self, server: int, member: Member) -> NatsBus:
        return NatsBus(self.settings(server, member), CLOCK)

    async def token(self, name: str) -> Token:
        return await admitted_token(self.fleet, self.operator, name)

    async def join(self, name: str, candidate: Candidate | None = None) -> Member:
        """With its part in Vault, as its owner writes it."""
        candidate, token = candidate or Candidate(f"uid-{name}"), await self.token(name)
        answer = await candidate.enrol(token)
        assert answer.outcome == "admitted", answer
        seed = seed_of(candidate.key)
        async with self.vault() as admin:
            files = self.folder.parent
            identity = await join(admin, token.cluster, self.openbao.address, self.openbao.ca_file, files)
        user, renewer = Credential(answer.user, seed), Credential(answer.renewer, seed)
        return Member(token.cluster, candidate, user, renewer, identity)

    def vault(self) -> VaultAdmin:
        return VaultAdmin(self.openbao.address, self.openbao.root_token, self.openbao.ca_file)

    def vault_client(self, member: Member) -> VaultClient:
        return VaultClient(member.vault.access, CLOCK)

    async def started(self, *arguments: str) -> asyncio.subprocess.Process:
        """The command, as its owner starts it, without a terminal."""
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("fleetbus"),
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> Ran:
        process = await self.started(*arguments)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())


def _node(name: str) -> Node:
    while True:
        node = Node(name=name, host="127.0.0.1", port=free_port())
        if is_free(node.routes_port):
            return node


@asynccontextmanager
async def _fleet(
    processes: Processes, folder: Path, openbao: OpenBao
) -> AsyncIterator[tuple[FleetServer, tuple[NatsServer, ...]]]:
    nodes, keys = tuple(_node(name) for name in "abc"), FolderKeys(folder)
    people = OPERATORS_BY_ROLE
    plan = FleetPlan(
        "test",
        nodes=nodes,
        listen_host="127.0.0.1",
        operators=("operator", *people.values()),
        roles={name: role for role, name in people.items()},
    )
    await make_fleet(folder, plan, keys, CLOCK.now())
    place = VaultPlace(address=openbao.address, ca=openbao.ca_file.read_text())
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        record = await make_vault(admin, place, folder)
    servers = []
    for node in nodes:
        include = 'include "server.conf"'
        server = NatsServer(processes, server_folder(folder, node), include, name=f"parting-{node.name}")
        server.port = node.port
        servers.append(server)
    files = {"system": "system", "controller": "controller", "operator": "operator-operator"}
    files |= {name: f"operator-{name}" for name in people.values()}
    credentials = {who: read_credential(folder, file) for who, file in files.items()}
    inboxes = {who: subjects.personal_inbox(one.nkey) for who, one in credentials.items()}
    inboxes |= {"system": subjects.SYSTEM_INBOX, "controller": subjects.CONTROLLER_INBOX}
    roles = {record.roles[role_key_name(OPERATORS, role)]: role for role in ROLES}
    async with together(*servers):
        await make_streams(folder, CLOCK)
        yield FleetServer(servers[0], folder, credentials, inboxes, roles), tuple(servers)


@pytest.fixture(scope="session")
async def stand(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao
) -> AsyncIterator[Stand]:
    """Each test leaves all of it running."""
    folder = tmp_path_factory.mktemp("parting") / "fleet"
    async with _fleet(processes, folder, openbao) as (fleet, servers):
        record, config = read_record(folder), folder.parent / "config.yaml"
        file = credential_file(folder, "operator-operator")
        context = Context("test", record.bus_servers, file, "operator", authority_file(folder), "test")
        await asyncio.to_thread(save_context, context, file=config)
        environment = {
            **os.environ,
            "FLEETBUS_CONFIG": str(config),
            "FLEETBUS_FLEET_DIR": str(folder),
            "VAULT_TOKEN": openbao.root_token,
            "XDG_CACHE_HOME": str(folder.parent),
            "XDG_STATE_HOME": str(folder.parent),
        }
        async with controlling(fleet, folder.parent / "work"), fleet.bus("operator") as bus:
            operator = Operator(bus, fleet.credentials["operator"])
            await operator.wait_answered()
            yield Stand(fleet, servers, openbao, operator, environment)


def without(stand: Stand, *names: str) -> Stand:
    """Whose environment lacks these."""
    kept = {key: value for key, value in stand.environment.items() if key not in names}
    return replace(stand, environment=kept)


async def audited(stand: Stand, object_: str) -> list[dict[str, str]]:
    """The audit records of one object, once there are any: a server that was away copies them late."""
    records: list[dict[str, str]] = []

    async def there() -> bool:
        found = (await stand.operator.ask("audit", {"object": object_}))["rows"]
        records[:] = [json.loads(one["envelope"].partition("\n")[2]) for one in found]
        return bool(records)

    assert await wait_until(there, CLOCK, 20)
    return records
