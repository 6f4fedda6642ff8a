"""Many clusters at once, on a bus and a controller of their own: they enrol, and they connect.

Agents' own code enrols and connects, all in this one process, so what is measured is theirs, the server's and the
controller's work together on one machine; what is behind an agent, its cluster, is a Secret in memory.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from fleetbus.agent.enrol import enrolled
from fleetbus.agent.settings import AgentSettings
from fleetbus.cli.ceremony.folder import credential_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.join import JoinRequest
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.online import make_streams
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.cluster_join import admitted, pinned_by
from fleetbus.client import Context, Fleet, connect
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import AGENT, agents_account, role_key_name, user_claims
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import TimeoutExpired
from fleetbus.schemas.nats_jwt import signed, unsigned
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.subjects import MAIN, ClusterId
from tests.bench.figures import Figure, figure, median, percentile
from tests.bench.stand import Stand

ENROLLING, CONNECTING = 1000, 5000
TOKENS_AT_ONCE = 12
"""Of one operator: the controller answers so many of one key at a time, and a few more."""
AT_ONCE = 64
"""Handshakes and requests that this process has open: all agents are one loop here, which is not what is measured."""
_CLOCK = SystemClock()
_TIMEOUT_S = 600.0


async def measure(stand: Stand) -> list[Figure]:
    async with _bus(stand.dir / "crowd", stand.rounds(CONNECTING)) as (folder, fleet):
        return [
            *await _enrolment(stand, folder, fleet, stand.rounds(ENROLLING)),
            *await _connections(stand, folder, stand.rounds(CONNECTING)),
        ]


@asynccontextmanager
async def _bus(dir: Path, clusters: int) -> AsyncIterator[tuple[Path, Fleet]]:
    """A fleet's folder and its operator, with room for so many clusters; no Vault, no cluster."""
    processes, folder = Processes(dir / "logs"), dir / "fleet"
    server = NatsServer(processes, folder / "nats", 'include "server.conf"')
    port = server.reserve()
    plan = FleetPlan("crowd", ("127.0.0.1",), port, listen_host="127.0.0.1", clusters=clusters)
    await make_fleet(folder, plan, FolderKeys(folder), _CLOCK.now())
    settings = folder / "controller.json"
    async with processes, server:
        await make_streams(folder, _CLOCK)
        argv: list[str | Path] = [sys.executable, "-m", "fleetbus.controller", "--config", settings]
        controller = await processes.start("controller", argv, cwd=dir)
        try:
            record = read_record(folder)
            file, authority = credential_file(folder, "operator-admin"), folder / "ca.crt"
            context = Context("crowd", record.bus_servers, file, "admin", authority, "crowd")
            async with connect(context) as fleet:
                yield folder, fleet
        finally:
            await controller.stop()


@dataclass
class Paper:
    """The port Kube as far as an agent needs it to enrol: a kube-system with a UID, and the agent's Secret."""

    uid: str
    secret: dict[str, Any] = field(default_factory=dict)

    async def get(self, resource: Any, namespace: str, name: str, **options: Any) -> dict[str, Any]:
        if name == "kube-system":
            return {"metadata": {"uid": self.uid}}
        return {"data": self.secret}

    async def replace(self, resource: Any, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        self.secret = dict(body["data"])

    async def read_path(self, path: str) -> dict[str, Any]:
        return {}


async def _enrolment(stand: Stand, folder: Path, fleet: Fleet, count: int) -> list[Figure]:
    names = [f"c{number:04d}" for number in range(count)]
    pinned = await asyncio.to_thread(pinned_by, folder, "", ())
    asking, places = asyncio.Semaphore(TOKENS_AT_ONCE), asyncio.Semaphore(AT_ONCE)

    async def prepared(name: str) -> Paper:
        async with asking:
            token = await admitted(fleet, JoinRequest(name), pinned)
        return Paper(f"uid-{name}", {"token": base64.b64encode(token.text().encode()).decode()})

    began_s = _CLOCK.monotonic_s()
    papers = await asyncio.gather(*map(prepared, names))
    tokens_s = _CLOCK.monotonic_s() - began_s

    async def joins(paper: Any) -> tuple[float, AgentSettings]:
        async with places:
            start_s = _CLOCK.monotonic_s()
            settings = await enrolled(paper, _CLOCK, lambda to: NatsBus(to, _CLOCK))
        return _CLOCK.monotonic_s() - start_s, settings

    began_s = _CLOCK.monotonic_s()
    async with asyncio.timeout(_TIMEOUT_S):
        joined = await asyncio.gather(*map(joins, papers))
    whole_s, took = _CLOCK.monotonic_s() - began_s, [one[0] for one in joined]
    rows = (await fleet.list("Cluster")).rows
    if len(rows) != count or any(not settings.credential.token for _, settings in joined):
        raise TimeoutExpired(f"{len(rows)} of {count} clusters are members")
    return [
        figure(f"join tokens admitted, {count}", tokens_s, "s"),
        figure(f"{count} clusters enrol, {AT_ONCE} at once → the last is a member", whole_s, "s"),
        figure("one enrolment meanwhile, p50", median(took), "s"),
        figure("one enrolment meanwhile, p99", percentile(took, 99), "s"),
    ]


async def _connections(stand: Stand, folder: Path, count: int) -> list[Figure]:
    """Every agent with its own user and its subscription."""
    places = asyncio.Semaphore(AT_ONCE)
    record = read_record(folder)
    signer = await FolderKeys(folder).find(role_key_name(agents_account(MAIN), AGENT), Kind.ACCOUNT)
    now = int(_CLOCK.now().timestamp())

    async def credential(name: str) -> Credential:
        key = SigningKey.generate()
        content = unsigned(user_claims(public_key(key), name, agents_account(MAIN), AGENT, record.keys, now))
        return Credential(signed(content, await signer.sign(content)), seed_of(key))

    clusters = [ClusterId(MAIN, f"x{number:04d}") for number in range(count)]
    credentials = [await credential(cluster.name) for cluster in clusters]
    trust = Trust(ca_pem=(folder / "ca.crt").read_text())
    async with AsyncExitStack() as stack:
        buses = [
            NatsBus(_settings(record.bus_servers, cluster, one, trust), _CLOCK)
            for cluster, one in zip(clusters, credentials, strict=True)
        ]
        began_s = _CLOCK.monotonic_s()

        async def connected(bus: NatsBus, cluster: ClusterId) -> float:
            async with places:
                await stack.enter_async_context(bus)
                await stack.enter_async_context(bus.subscribe(subjects.nudges(cluster)))
            return _CLOCK.monotonic_s() - began_s

        async with asyncio.timeout(_TIMEOUT_S):
            took = await asyncio.gather(*map(connected, buses, clusters))
        await stack.aclose()
    return [
        figure(f"{count} agents connect by TLS, {AT_ONCE} at once → the last is subscribed", max(took), "s"),
    ]


def _settings(
    servers: Sequence[str], cluster: ClusterId, credential: Credential, trust: Trust
) -> BusSettings:
    inbox = subjects.inbox(cluster.realm, cluster.name)
    return BusSettings(tuple(servers), credential, inbox, f"agent {cluster}", trust)
