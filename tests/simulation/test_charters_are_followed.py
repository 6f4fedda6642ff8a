"""Agents follow the root through lost nudges, lagging replicas and a failing apiserver; none goes back."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from random import Random

import pytest
from nacl.signing import SigningKey

from fleetbus.agent.charter import Trusted, known_charter, nudge_of
from fleetbus.agent.secret import read_secret
from fleetbus.agent.settings import NAMESPACE, SECRET, AgentSettings, parse_settings
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import Charter, Sealed
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.signing import covered, wrapped
from fleetbus.schemas.streams import DESIRED, agent_permissions
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import BusFaults, SimulatedServer
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate
from tests.tokens import user_token

AGENTS, CHANGES = 4, 8
BUS = BusFaults(nudges_lost=0.3, lagging=0.2, cuts=0.02)
KUBE = KubeFaults(refused=0.1, lost=0.1, conflicts=0.2)
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
FLEET = "simulated"


@dataclass
class Agent:
    """One that follows charters, and dies at any moment. `seen`: by (epoch, version) those that counted, in order."""

    cluster: ClusterId
    kube: SimulatedKube
    seen: list[tuple[int, int]] = field(default_factory=list)

    async def live(self, server: SimulatedServer, clock: VirtualClock) -> None:
        settings = await self.settings()
        user = settings.credential.nkey
        bus = server.bus(self.cluster.name, agent_permissions(self.cluster), account="AGENTS_main", user=user)
        trusted = Trusted(settings, self.kube)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(trusted.follow(bus, clock))
                group.create_task(self._witness(trusted, settings))
        finally:
            server.buses.remove(bus)

    async def settings(self) -> AgentSettings:
        while True:
            try:
                return parse_settings(await read_secret(self.kube))
            except Exception:
                continue

    async def _witness(self, trusted: Trusted, settings: AgentSettings) -> None:
        while True:
            self.seen.append(trusted.order)
            kept = known_charter(self.secret(), settings.root, FLEET)
            # What counts has been kept before, so that no successor begins with less.
            assert trusted.order <= (kept.charter.order if kept else (0, 0))
            await trusted.wait_newer(trusted.order)

    def secret(self) -> dict[str, str]:
        data = self.kube.cluster.find(SECRET, (NAMESPACE, "fleetbus-agent")).object["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}


class World:
    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.clock, self.chance = VirtualClock(loop, chance), chance
        self.server = SimulatedServer(self.clock, chance, BUS)
        self.root = SigningKey(chance.randbytes(32))
        self.agents = [self._agent(f"c{number}") for number in range(AGENTS)]

    def _agent(self, name: str) -> Agent:
        cluster = SimulatedCluster(self.clock, seed=self.chance.getrandbits(32))
        key = SigningKey(self.chance.randbytes(32))
        values = {
            "seed": seed_of(key),
            "jwt": user_token(public_key(key), name),
            "fleet": FLEET,
            "realm": "main",
            "cluster": name,
            "uid": "uid-1",
            "bus-servers": "tls://bus.example",
            "bus-ca": PEM,
            "controller-keys": public_key(key),
            "root": public_key(self.root, Kind.OPERATOR),
        }
        data = {one: base64.b64encode(value.encode()).decode() for one, value in values.items()}
        secret = {"metadata": {"name": "fleetbus-agent", "namespace": NAMESPACE}, "data": data}
        cluster.put(cluster.kind("v1", "Namespace"), ("", NAMESPACE), {"metadata": {}}, {})
        cluster.put(SECRET, (NAMESPACE, "fleetbus-agent"), secret, {})
        kube = SimulatedKube(cluster, faults=KUBE, seed=self.chance.getrandbits(32))
        return Agent(ClusterId("main", name), kube)

    def charter(self, epoch: int, version: int) -> Sealed:
        key = public_key(SigningKey(self.chance.randbytes(32)))
        charter = Charter(
            fleet=FLEET,
            epoch=epoch,
            version=version,
            issued_at=self.clock.now(),
            publish=(key,),
            authorities=PEM,
        )
        content = charter.to_bytes()
        signature = self.root.sign(covered(subjects.CHARTER, content)).signature
        return Sealed(charter, wrapped(content, {public_key(self.root, Kind.OPERATOR): signature}))

    def tell(self, envelope: bytes) -> None:
        """As the controller does, and whoever owns the broker."""
        self.server.store(self.server.streams[DESIRED.name], Put(subjects.CHARTER, envelope))
        for agent in self.agents:
            if self.chance.random() >= BUS.nudges_lost:
                self.server.deliver(Message(nudge_of(agent.cluster), b""))

    async def mortal(self, agent: Agent) -> None:
        """Its agent, killed and started anew again and again."""
        while True:
            life = asyncio.create_task(agent.live(self.server, self.clock))
            done, _ = await asyncio.wait([life], timeout=self.clock.jitter(150.0, 0.9))
            life.cancel()
            await asyncio.wait([life])
            assert not done, life.exception()


async def scenario(loop: VirtualLoop, chance: Random) -> None:
    world = World(loop, chance)
    lives = [asyncio.create_task(world.mortal(one)) for one in world.agents]
    told: list[Sealed] = []
    for number in range(CHANGES):
        told.append(world.charter(1 + number // 3, 100 - number))
        world.tell(told[-1].envelope)
        await world.clock.sleep(chance.uniform(0.1, 90))
        # Whoever owns the broker puts an older one, or nonsense, in its place for a while.
        world.tell(chance.choice([told[0].envelope, b"nonsense", told[-1].envelope]))
        await world.clock.sleep(chance.uniform(0.1, 90))
    newest = max(one.charter.order for one in told)
    world.tell(next(one.envelope for one in told if one.charter.order == newest))
    while any(not one.seen or one.seen[-1] != newest for one in world.agents):
        await world.clock.sleep(5)
    for agent in world.agents:
        assert agent.seen == sorted(agent.seen), agent.cluster
    for life in lives:
        assert not life.done()
        life.cancel()


@pytest.mark.parametrize("seed", range(8))
def test_every_agent_ends_with_the_newest_charter_and_none_goes_back(seed: int) -> None:
    simulate(seed, scenario, limit_s=7200)
