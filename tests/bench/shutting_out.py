"""A cluster is revoked by the command: how long until Vault refuses it, and until the bus has closed its connection.

Both are seen from the cluster's side, and timed from the start of the command's process, which takes its part of it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from fleetbus.agent.enrol import enrolled
from fleetbus.agent.settings import AgentSettings
from fleetbus.cli.ceremony.join import JoinRequest
from fleetbus.cli.cluster_join import admitted, pinned_by
from fleetbus.local.shells import shell_environment
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault import VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import ServerFailed, VaultForbidden
from tests.bench.crowd import Paper
from tests.bench.figures import Figure, figure, median
from tests.bench.stand import Stand, id_of
from tests.vault_cluster import VaultCluster, join

ROUNDS = 10
_CLOCK = SystemClock()
_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.005


async def measure(stand: Stand) -> list[Figure]:
    rounds = max(2, stand.rounds(ROUNDS))
    took = [await _revoked(stand, f"out-{number}") for number in range(rounds)]
    refused, closed, ended = ([one[part] for one in took] for part in range(3))
    what = "cluster revoke, from the command's start"
    return [
        figure(f"{what} → Vault refuses its token, p50", median(refused), "s", aim="< 1"),
        figure(f"{what} → Vault refuses its token, max", max(refused), "s", aim="< 1"),
        figure(f"{what} → its connection is closed, p50", median(closed), "s", aim="< 1"),
        figure(f"{what} → its connection is closed, max", max(closed), "s", aim="< 1"),
        figure(f"{what} → all of it is done and seen, p50", median(ended), "s"),
        figure(f"{what} → all of it is done and seen, max", max(ended), "s"),
    ]


async def _revoked(stand: Stand, name: str) -> tuple[float, float, float]:
    settings, identity = await _member(stand, name)
    async with NatsBus(_agents(settings), _CLOCK) as bus, VaultClient(identity.access, _CLOCK) as vault:
        await bus.wait_connected()
        await vault.read(f"main/{name}/own")
        began_s = _CLOCK.monotonic_s()

        async def seen(ends: Awaitable[None]) -> float:
            await ends
            return _CLOCK.monotonic_s() - began_s

        async with asyncio.timeout(_TIMEOUT_S), asyncio.TaskGroup() as tasks:
            looks = [
                tasks.create_task(seen(one))
                for one in (_refused(vault, name), _closed(bus), _command(stand, name))
            ]
    return looks[0].result(), looks[1].result(), looks[2].result()


async def _member(stand: Stand, name: str) -> tuple[AgentSettings, VaultCluster]:
    """Enrolled by an agent's own code, with its part in Vault and a value of its own there."""
    pinned = await asyncio.to_thread(pinned_by, stand.fleet.folder, "", ())
    token = await admitted(stand.operator, JoinRequest(name), pinned)
    paper: Any = Paper(f"uid-{name}", {"token": base64.b64encode(token.text().encode()).decode()})
    settings = await enrolled(paper, _CLOCK, lambda to: NatsBus(to, _CLOCK))
    vault = stand.fleet.vault
    async with VaultAdmin(vault.address, vault.root_token, vault.ca_file) as admin:
        identity = await join(admin, id_of(name), vault.address, vault.ca_file, stand.dir)
        await admin.put(f"main/{name}/own", {"word": "mine"})
    return settings, identity


def _agents(settings: AgentSettings) -> BusSettings:
    cluster = settings.identity.cluster
    inbox = subjects.inbox(cluster.realm, cluster.name)
    trust = Trust(ca_pem=settings.bus_ca)
    return BusSettings(settings.bus_servers, settings.credential, inbox, f"agent {cluster}", trust)


async def _refused(vault: VaultClient, name: str) -> None:
    """By reading again and again with the token that it has."""
    while True:
        try:
            await vault.read(f"main/{name}/own")
        except VaultForbidden:
            return
        await _CLOCK.sleep(_LOOK_EVERY_S)


async def _closed(bus: NatsBus) -> None:
    while bus.connected:
        await _CLOCK.sleep(_LOOK_EVERY_S)


async def _command(stand: Stand, name: str) -> None:
    """Raises ServerFailed when it does not end with 0."""
    environment = dict(os.environ) | shell_environment(stand.fleet.shell_variables())
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("fleetbus"), "cluster", "revoke", name, "--purge", "--yes"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise ServerFailed(f"fleetbus cluster revoke {name}: {said.decode()[-500:]}")
