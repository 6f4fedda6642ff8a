"""A nats-server as `fleetbus init` makes it, and a credential for each kind of who connects to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import authority_file, certificate_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.issue import issue, sign
from fleetbus.cli.ceremony.keys import FolderKeys, read_credential
from fleetbus.cli.ceremony.online import make_streams
from fleetbus.cli.ceremony.record import Mtls, read_record
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import Issued, issue_for_key
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import streams, subjects
from fleetbus.schemas.accounts import AGENT, OPERATORS, agents_account, role_key_name, user_claims
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.nkeys import Kind, public_key, seed_of, verify_key
from fleetbus.schemas.roles import ROLES, SUBSCRIBER_OF_TYPES, OperatorRole

CLUSTERS = ("c1", "c2")
OPERATORS_BY_ROLE: Mapping[OperatorRole, str] = {role: f"some-{role}" for role in ROLES}
"""One of each role; `operator` is an admin as well."""
SOME_TYPES = ("bundle.*", "cluster.connected")
"""What the subscriber `some-types` may read."""
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class FleetServer:
    """The server, the fleet's folder, and everybody's credential and inbox prefix by name."""

    server: NatsServer
    folder: Path
    credentials: dict[str, Credential]
    inboxes: dict[str, str]
    role_keys: Mapping[str, str]
    """Public key of each operators' role: the role, as `fleetbus init` tells the controller."""
    certificates: Mapping[str, str] = field(default_factory=dict)
    """What each shows, where the server wants a client's certificate."""

    @property
    def ca_pem(self) -> str:
        return authority_file(self.folder).read_text()

    @property
    def keys(self) -> FolderKeys:
        """What signs this fleet's tokens."""
        return FolderKeys(self.folder)

    def settings(self, who: str) -> BusSettings:
        return BusSettings((self.server.url,), self.credentials[who], self.inboxes[who], who, self.trust(who))

    def trust(self, who: str) -> Trust:
        return Trust(ca_pem=self.ca_pem, certificate=self.certificates.get(who, ""))

    def seed(self, who: str) -> str:
        return self.credentials[who].seed

    def public_key(self, who: str) -> str:
        return self.credentials[who].nkey

    @asynccontextmanager
    async def bus(self, who: str) -> AsyncIterator[NatsBus]:
        """A connected bus with the credential of `who`: system, controller, operator, subscriber or a cluster."""
        async with NatsBus(self.settings(who), CLOCK) as bus:
            await bus.wait_connected()
            yield bus


@asynccontextmanager
async def fleet_server(
    processes: Processes,
    directory: Path,
    name: str,
    *,
    clusters: int = 1,
    websocket_port: int = 0,
    mtls: Mtls = "off",
) -> AsyncIterator[FleetServer]:
    """A running server with TLS, accounts and all streams, room for so many clusters at least, and a port for
    WebSockets if one is given."""
    folder = directory / name
    server = NatsServer(processes, folder / "nats", 'include "server.conf"', name=name)
    plan = FleetPlan(
        "test",
        ("127.0.0.1",),
        server.reserve(),
        listen_host="127.0.0.1",
        operators=("operator", *OPERATORS_BY_ROLE.values()),
        roles={name: role for role, name in OPERATORS_BY_ROLE.items()},
        subscribers=("subscriber", "some-types"),
        types={"some-types": SOME_TYPES},
        clusters=clusters,
        websocket_port=websocket_port,
        mtls=mtls,
    )
    await make_fleet(folder, plan, FolderKeys(folder), CLOCK.now())
    agents = {cluster: await admitted(folder, cluster) for cluster in CLUSTERS}
    await issue(folder, FolderKeys(folder), CLOCK.now())
    people = {"operator": "operator-operator", "subscriber": "subscriber-subscriber"}
    people["some-types"] = "subscriber-some-types"
    people |= {name: f"operator-{name}" for name in OPERATORS_BY_ROLE.values()}
    files = {"system": "system", "controller": "controller", **people}
    credentials = agents | {who: read_credential(folder, file) for who, file in files.items()}
    inboxes = {
        "system": subjects.SYSTEM_INBOX,
        "controller": subjects.CONTROLLER_INBOX,
        **{who: subjects.personal_inbox(credentials[who].nkey) for who in people},
        **{cluster: subjects.inbox(subjects.MAIN, cluster) for cluster in CLUSTERS},
    }
    roles = read_record(folder).roles
    role_keys = {roles[role_key_name(OPERATORS, role)]: role for role in (*ROLES, SUBSCRIBER_OF_TYPES)}
    async with server:
        await make_streams(folder, CLOCK)
        shown = {who: read_text(certificate_file(folder, files[who])) for who in files if mtls != "off"}
        shown |= {who: certified(folder, credentials[who]) for who in agents if mtls != "off"}
        yield FleetServer(server, folder, credentials, inboxes, role_keys, shown)


def certified(folder: Path, credential: Credential, lives: timedelta = timedelta(days=1)) -> str:
    """What a cluster with this credential shows, as its controller gives it."""
    authority = Issued((folder / "clients-ca.crt").read_bytes(), (folder / "clients-ca.key").read_bytes())
    made_at = CLOCK.now() - timedelta(hours=1)
    key = bytes(verify_key(credential.nkey))
    return issue_for_key(authority, "a cluster", key, made_at, valid_for=lives).decode()


async def renewed(fleet: FleetServer, cluster: str, lives_s: float = 3600) -> Credential:
    """The next token of the same key."""
    known, now = fleet.credentials[cluster], CLOCK.now()
    ends = int((now + timedelta(seconds=lives_s)).timestamp())
    account, keys = agents_account(subjects.MAIN), read_record(fleet.folder).keys
    claims = user_claims(known.nkey, cluster, account, AGENT, keys, int(now.timestamp()), expires_at=ends)
    signer = await fleet.keys.find(role_key_name(account, AGENT), Kind.ACCOUNT)
    return Credential(await sign(claims, signer), known.seed)


async def empty_streams(bus: NatsBus) -> None:
    """Every stream as after `init`; what the server keeps for ever goes with its stream."""
    for stream in streams.STREAMS:
        if stream.keeps_for_ever:
            await bus.request(subjects.jetstream_api(f"STREAM.DELETE.{stream.name}"), b"")
        else:
            await bus.purge(stream.name, ">")
    await ensure_streams(bus)


async def admitted(folder: Path, cluster: str, key: SigningKey | None = None) -> Credential:
    """What a cluster that has joined connects with."""
    key, record = key or SigningKey.generate(), read_record(folder)
    account = agents_account(subjects.MAIN)
    issued = int(CLOCK.now().timestamp())
    claims = user_claims(public_key(key), cluster, account, AGENT, record.keys, issued)
    signer = await FolderKeys(folder).find(role_key_name(account, AGENT), Kind.ACCOUNT)
    return Credential(await sign(claims, signer), seed_of(key))
