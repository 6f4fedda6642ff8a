"""A whole fleet on virtual time: the real loops of two controllers and three agents over simulated servers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from nacl.signing import SigningKey

from fleetbus.agent.capabilities import commands
from fleetbus.agent.catalogue import CAPABILITIES
from fleetbus.agent.main import run_agent
from fleetbus.agent.ports import Identity
from fleetbus.agent.settings import AgentSettings
from fleetbus.controller.capabilities.bundles import reconcile as bundles
from fleetbus.controller.capabilities.clusters import reconcile as clusters
from fleetbus.controller.capabilities.secrets import reconcile as secrets
from fleetbus.controller.capabilities.sources import reconcile as sources
from fleetbus.controller.main import run_controller
from fleetbus.controller.ports import Ports
from fleetbus.controller.settings import Settings
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Command, CommandList
from fleetbus.schemas.errors import Refused
from fleetbus.schemas.nkeys import key_of_seed, public_key
from fleetbus.schemas.signing import verify
from fleetbus.schemas.streams import DESIRED, agent_permissions
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import BusFaults
from tests.simulation.faults import CALM, Plan
from tests.simulation.git import Repository
from tests.simulation.invariants import Invariants, WatchedCluster, WatchedServer
from tests.simulation.kube import KubeFaults
from tests.simulation.loop import VirtualClock, VirtualLoop
from tests.simulation.mortal import (
    MortalBus,
    MortalKube,
    MortalVault,
    OperatorBus,
    SimulatedGroups,
)
from tests.simulation.processes import Process, Slot, track_tasks
from tests.simulation.vault import SimulatedVaultServer
from tests.tokens import TOKEN_ISSUER, user_credential

FLEET = "simulated"
CLUSTERS = ("c-eu", "c-us", "c-lab")
SHARED = "db"
APPS = "apps"
"""The namespace of most objects; it is there before anything is."""
OWN_NAMESPACES = (APPS, "fleetbus-system")


@dataclass(slots=True)
class Member:
    """One cluster: its apiserver, its agent's settings, and where its agents run."""

    id: ClusterId
    server: WatchedCluster
    settings: AgentSettings
    entity: str
    agent: Slot
    second: Slot

    @property
    def name(self) -> str:
        return self.id.name


class SimulatedFleet:
    """Servers, processes and an operator's connection. `plan` is what goes wrong until `calm`."""

    def __init__(
        self,
        loop: VirtualLoop,
        chance: Random,
        plan: Plan = CALM,
        *,
        unfenced: frozenset[str] = frozenset(),
        server: type[WatchedServer] = WatchedServer,
    ) -> None:
        track_tasks(loop)
        self.loop = loop
        self.chance = chance
        self.plan = plan
        self.clock = VirtualClock(loop, chance)
        self.dangers = replace(plan.dangers)
        self.kube_faults = plan.kube
        self.vault_unavailable = plan.vault_unavailable
        self.ended: list[str] = []
        self.kills = 0
        self._unfenced = unfenced
        self._key = SigningKey(chance.randbytes(32))
        self._person = SigningKey(chance.randbytes(32))
        self.invariants = Invariants(public_key(self._key))
        self.bus = server(self.clock, chance, plan.bus)
        self.bus.invariants = self.invariants
        self.repository = Repository(self.clock, chance)
        self.repository.unreachable = plan.git_unreachable
        self.vault = SimulatedVaultServer()
        self.members = {name: self._member(name) for name in CLUSTERS}
        self.groups = SimulatedGroups(
            self.vault,
            self.clock,
            {one.entity: one.name for one in self.members.values()},
            {f"fleetbus-{SHARED}": f"shared/{SHARED}"},
        )
        self.controllers = [self._slot(f"controller-{number}", self._control) for number in (1, 2)]
        self.operator = OperatorBus(self.bus, "ana", self._person)
        self.bus.buses.append(self.operator)
        loop.after_step = self._after_step

    @property
    def slots(self) -> list[Slot]:
        agents = [slot for member in self.members.values() for slot in (member.agent, member.second)]
        return [*self.controllers, *agents]

    def start(self) -> None:
        for slot in (*self.controllers, *(member.agent for member in self.members.values())):
            slot.start()

    async def stop(self) -> None:
        self.loop.after_step = None
        for slot in self.slots:
            await slot.stop()

    def calm(self) -> None:
        """From now on nothing goes wrong any more; what has gone wrong has to mend itself."""
        self.plan = CALM
        self.bus.faults = BusFaults()
        self.kube_faults = KubeFaults()
        self.dangers.deaths = self.dangers.late_writes = 0.0
        self.vault_unavailable = self.repository.unreachable = 0.0
        self.repository.away = self.vault.sealed = False
        for member in self.members.values():
            member.server.set_away(False)
        for slot in self.slots:
            slot.longest_rest_s = 1.0
            for port in _ports_of(slot.process):
                if isinstance(port, MortalKube):
                    port.faults = self.kube_faults
                if isinstance(port, MortalVault):
                    port.unavailable = 0.0

    @property
    def signers(self) -> set[str]:
        """The public keys of the controller and of every agent."""
        return {public_key(self._key), *(public_key_of(member.settings) for member in self.members.values())}

    def buses_of(self, slot: Slot) -> list[MortalBus]:
        return [port for port in _ports_of(slot.process) if isinstance(port, MortalBus)]

    def commands(self) -> dict[str, tuple[Command, ...]]:
        """What each cluster is told to do, as it stands on the bus; what the controller has not signed is no order."""
        stream = self.bus.streams[DESIRED.name]
        found = stream.last_per_subject(subjects.ALL_COMMANDS, self.clock.now())
        lists = [one for message in found if (one := self._signed_list(message)) is not None]
        names = {member.settings.identity.uid: name for name, member in self.members.items()}
        return {names[one.cluster]: one.commands for one in lists}

    def _signed_list(self, message: Message) -> CommandList | None:
        try:
            return CommandList.from_bytes(verify(message.subject, message.data, {public_key(self._key)}))
        except Refused:
            return None

    def _after_step(self) -> None:
        wrong = self.invariants.violations or self.ended
        if wrong:
            self.loop.after_step = None
            raise AssertionError("; ".join(wrong))
        if self.plan.kills and self.chance.random() < self.plan.kills:
            self.kills += 1
            self.chance.choice(self.slots).kill()

    # what processes are made of

    def _slot(self, name: str, program: object) -> Slot:
        return Slot(name, program, self.clock, self.chance, self.ended)  # type: ignore[arg-type]

    def _machine(self) -> VirtualClock:
        skew_s = self.plan.skew_s * (2 * self.chance.random() - 1)
        return VirtualClock(self.loop, self.chance, skew_s)

    def _connect(self, process: Process, **more: object) -> MortalBus:
        bus = MortalBus(
            self.bus,
            process,
            self.dangers,
            self.chance,
            unfenced=self._unfenced,
            **more,  # type: ignore[arg-type]
        )
        process.ports.append(bus)
        return bus

    async def _control(self, process: Process) -> None:
        clock = self._machine()
        nowhere = Path("/nowhere")
        settings = Settings(
            fleet=FLEET,
            bus_servers=("tls://bus.example",),
            bus_credential_file=nowhere,
            signing_seed_file=nowhere,
            operators={public_key(self._person): "ana"},
            role_keys={TOKEN_ISSUER: "admin"},
            work_dir=nowhere,
        )
        capabilities = (
            clusters.capability(),
            sources.capability(self.repository.read),
            bundles.capability(self.repository.render),
            secrets.capability(),
        )
        await run_controller(
            settings,
            self._connect(process),
            Ports(clock, self.groups.of(process), nowhere),
            clock,
            signing_key=self._key,
            holder=process.holder,
            gone=self._is_gone if self.plan.knows_the_dead else None,
            capabilities=capabilities,
        )

    def _is_gone(self, holder: str) -> bool:
        return all(slot.process is None or slot.process.holder != holder for slot in self.controllers) or any(
            slot.process is not None and slot.process.holder == holder and not slot.process.alive
            for slot in self.controllers
        )

    def _member(self, name: str) -> Member:
        cluster = WatchedCluster(self.clock, seed=self.chance.getrandbits(32))
        cluster.name = name
        for namespace in OWN_NAMESPACES:
            cluster.put(cluster.kind("v1", "Namespace"), ("", namespace), {"metadata": {}}, {})
        definition = cluster.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        cluster.put(definition, ("", "agentstates.agent.fleetbus.dev"), agent_state_definition(), {})
        cluster.documents |= {
            "/.well-known/openid-configuration": {"issuer": f"https://{name}.example"},
            "/openid/v1/jwks": {"keys": []},
        }
        cluster.invariants = self.invariants
        home = cluster.find(cluster.kind("v1", "Namespace"), ("", "kube-system"))
        identity = Identity(FLEET, ClusterId("main", name), home.object["metadata"]["uid"])
        settings = AgentSettings(
            identity=identity,
            credential=user_credential(SigningKey(self.chance.randbytes(32)), name),
            bus_servers=("tls://bus.example",),
            bus_ca="",
            controller_keys=frozenset({public_key(self._key)}),
        )
        self.vault.allow(name, f"main/{name}/")
        program = partial(self._be_agent, name)
        agents = self._slot(f"agent-{name}", program), self._slot(f"second-{name}", program)
        return Member(identity.cluster, cluster, settings, f"entity-{name}", *agents)

    async def _be_agent(self, name: str, process: Process) -> None:
        member, clock = self.members[name], self._machine()
        bus = self._connect(
            process,
            permissions=agent_permissions(member.id),
            account="AGENTS_main",
            user=public_key_of(member.settings),
        )
        kube = MortalKube(member.server, process, self.dangers, self.kube_faults, self.chance)
        vault = MortalVault(
            self.vault,
            name,
            process,
            clock,
            unavailable=self.vault_unavailable,
            seed=self.chance.getrandbits(32),
        )
        process.ports += [kube, vault]
        mortal = replace(commands.CAPABILITY, start=partial(commands.start, die=process.die))
        catalogue = [mortal if one.name == mortal.name else one for one in CAPABILITIES]
        await run_agent(member.settings, bus, kube, vault, clock, process.holder, catalogue=catalogue)


def public_key_of(settings: AgentSettings) -> str:
    return public_key(key_of_seed(settings.credential.seed))


def _ports_of(process: Process | None) -> list[object]:
    return process.ports if process is not None else []


def agent_state_definition() -> dict[str, object]:
    names = {"plural": "agentstates", "kind": "AgentState"}
    versions = [{"name": "v1alpha1", "served": True}]
    spec = {"group": "agent.fleetbus.dev", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {}, "spec": spec}
