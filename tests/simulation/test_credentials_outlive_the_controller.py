"""A controller that is away for three days locks nobody out, and credentials made together do not end together."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from nacl.signing import SigningKey

from fleetbus.agent import renew
from fleetbus.agent.charter import Trusted
from fleetbus.agent.enrol import enrolled
from fleetbus.agent.renew import Keeping, keep_credential
from fleetbus.agent.settings import SECRET
from fleetbus.controller.capabilities.clusters import reconcile as clusters
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.main import run_controller
from fleetbus.controller.ports import Ports
from fleetbus.controller.settings import Settings
from fleetbus.runtime.bus import BusSettings
from fleetbus.runtime.ports import Bus, Signer
from fleetbus.runtime.signers import SeedSigner
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import AGENT, ENROL, RENEWER, TOKEN, agents_account, role_key_name
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import JoinToken
from fleetbus.schemas.enrolment_api import AdmittedTokenResult
from fleetbus.schemas.errors import Transient
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.streams import (
    agent_permissions,
    renewer_permissions,
    token_permissions,
)
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import SimulatedServer
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate
from tests.simulation.mortal import CrossingBus, OperatorBus
from tests.tokens import TOKEN_ISSUER

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
CLUSTERS = 6
FAULTS = KubeFaults(refused=0.05, lost=0.05, conflicts=0.05)


@dataclass
class World:
    """A bus, a controller that can be taken away, and agents with nothing but a token."""

    loop: VirtualLoop
    chance: Random
    clock: VirtualClock = field(init=False)
    buses: dict[str, Bus] = field(default_factory=dict)
    lives: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.loop, self.chance)
        self.server = SimulatedServer(self.clock, self.chance)
        self.key = SigningKey(self.chance.randbytes(32))
        person = SigningKey(self.chance.randbytes(32))
        self.operators = {public_key(person): "ana"}
        self.operator = OperatorBus(self.server, "ana", person)
        self.server.buses.append(self.operator)
        names = [(ENROL, TOKEN), (ENROL, RENEWER), (agents_account("main"), AGENT)]
        self.signers = {role_key_name(*one): SeedSigner(self._account_key(), Kind.ACCOUNT) for one in names}
        self.accounts = {account: public_key(self._account_key(), Kind.ACCOUNT) for account, _ in names}

    def _account_key(self) -> SigningKey:
        return SigningKey(self.chance.randbytes(32))

    async def find(self, name: str) -> Signer:
        return self.signers[name]

    @asynccontextmanager
    async def controlled(self, holder: str) -> AsyncIterator[None]:
        nowhere = Path("/nowhere")
        settings = Settings(
            fleet="simulated",
            bus_servers=("tls://bus.example",),
            bus_credential_file=nowhere,
            signing_seed_file=nowhere,
            operators=self.operators,
            role_keys={TOKEN_ISSUER: "admin"},
            work_dir=nowhere,
        )
        bus = self.server.bus(holder)
        task = asyncio.create_task(
            run_controller(
                settings,
                bus,
                Ports(self.clock, None, nowhere),
                self.clock,
                signing_key=self.key,
                holder=holder,
                capabilities=(clusters.capability(),),
                issuer=Issuer(lambda: self.accounts, self.find, self.clock),
            )
        )
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self.server.buses.remove(bus)

    async def token(self, name: str) -> JoinToken:
        key = SigningKey(self.chance.randbytes(32))
        asked = {"name": name, "key": public_key(key)}
        while True:
            try:
                told = AdmittedTokenResult.from_json(await self.operator.ask("token", asked, timeout_s=5.0))
                break
            except Transient:
                await self.clock.sleep(1)
        return JoinToken(
            id=told.id,
            fleet=told.fleet,
            realm="main",
            cluster=name,
            bus_servers=("tls://bus.example",),
            bus_ca="-----BEGIN CERTIFICATE-----",
            controller_keys=told.controller_keys,
            seed=seed_of(key),
            jwt=told.jwt,
            expires_at=told.expires_at,
        )

    @asynccontextmanager
    async def connect(self, settings: BusSettings) -> AsyncIterator[Bus]:
        """As the server would: by the role whose key signed, for as long as the token says."""
        claims = settings.credential.claims
        roles = {signer.public_key: name for name, signer in self.signers.items()}
        cluster, role = ClusterId("main", claims.name), roles[claims.issuer]
        permissions = {
            role_key_name(ENROL, TOKEN): token_permissions(cluster, claims.subject),
            role_key_name(ENROL, RENEWER): renewer_permissions(cluster, claims.subject),
        }.get(role, agent_permissions(cluster))
        bus = CrossingBus(self.server, claims.name, permissions, role.partition(".")[0], claims.subject)
        self.server.buses.append(bus)
        await bus.change_credential(settings.credential)
        try:
            yield bus
        finally:
            self.server.buses.remove(bus)

    async def be_agent(self, name: str, token: JoinToken) -> None:
        cluster = SimulatedCluster(self.clock, seed=self.chance.getrandbits(32))
        data = {"token": base64.b64encode(token.text().encode()).decode()}
        secret = {"metadata": {"name": "fleetbus-agent", "namespace": "fleetbus-system"}, "data": data}
        cluster.put(cluster.kind("v1", "Namespace"), ("", "fleetbus-system"), {"metadata": {}}, {})
        cluster.put(SECRET, ("fleetbus-system", "fleetbus-agent"), secret, {})
        kube = SimulatedKube(cluster, faults=FAULTS, seed=self.chance.getrandbits(32))
        settings = await enrolled(kube, self.clock, self.connect)
        self.lives.append(settings.credential.claims.expires_at)
        async with self.connect(
            BusSettings(settings.bus_servers, settings.credential, subjects.inbox("main", name), name)
        ) as bus:
            self.buses[name] = bus
            trust = Trust()
            trusted = Trusted(settings, kube, trust)
            await keep_credential(Keeping(settings, bus, kube, self.clock, self.connect, trust, trusted))

    async def until_all_are_back(self, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while self.away():
                await self.clock.sleep(5)

    def away(self) -> list[str]:
        return sorted(name for name, bus in self.buses.items() if not bus.connected)


async def scenario(loop: VirtualLoop, chance: Random) -> None:
    world = World(loop, chance)
    names = [f"c{number}" for number in range(CLUSTERS)]
    async with asyncio.TaskGroup() as group:
        async with world.controlled("one"):
            tokens = [await world.token(name) for name in names]
            agents = [
                group.create_task(world.be_agent(name, token))
                for name, token in zip(names, tokens, strict=True)
            ]
            await world.clock.sleep(DAY_S + HOUR_S)
            assert sorted(world.buses) == names
            # Older than any credential, and nobody is without: each has renewed, at a time of its own.
            assert world.away() == []
            assert max(world.lives) - min(world.lives) > 300
        await world.clock.sleep(3 * DAY_S)
        assert world.away() == names
        async with world.controlled("two"):
            await world.until_all_are_back(HOUR_S / 2)
            await world.clock.sleep(HOUR_S)
            assert world.away() == []
        for agent in agents:
            agent.cancel()


def test_three_days_without_a_controller_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renew, "LOOK_EVERY_S", 600.0)
    simulate(7, scenario, limit_s=10 * DAY_S)


def test_a_thousand_credentials_made_at_once_do_not_end_together() -> None:
    async def made(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        issuer = Issuer(lambda: world.accounts, world.find, world.clock)
        nkey = public_key(world.key)
        users = [(await issuer.member(ClusterId("main", f"c{n}"), nkey))[0] for n in range(1000)]
        ends = sorted(read(user).expires_at for user in users)
        began = world.clock.now().timestamp()
        assert began + 0.9 * DAY_S - 2 < ends[0]
        assert ends[-1] <= began + DAY_S
        most = max(sum(one <= other < one + 60 for other in ends) for one in ends[::10])
        assert most < 40
        due = sorted(renew.due_in_s(_credential(world, user), world.clock) for user in users)
        assert due[0] > 0.45 * DAY_S - 2
        assert due[-1] < 0.75 * DAY_S + 1
        assert max(sum(one <= other < one + 60 for other in due) for one in due[::10]) < 40

    simulate(1, made)


def _credential(world: World, user: str) -> Credential:
    return Credential(user, seed_of(world.key))
