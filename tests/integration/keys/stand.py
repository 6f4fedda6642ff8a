"""A fleet whose keys are changed: the controller as its program, and agents in this process on the real bus.

The agents' clusters are simulated, everything else of theirs is real: what they keep, whom they obey, what they report.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from nacl.signing import SigningKey

from fleetbus.agent.acceptance import parse_accepted
from fleetbus.agent.charter import Trusted
from fleetbus.agent.desired import kept_key
from fleetbus.agent.enrol import enrolled
from fleetbus.agent.facts import agent_version
from fleetbus.agent.keep import AGENT_STATE, NAME, parse_state
from fleetbus.agent.main import run_agent
from fleetbus.agent.renew import Keeping, renew
from fleetbus.agent.secret import read_secret
from fleetbus.agent.settings import NAMESPACE, SECRET, parse_settings
from fleetbus.cli import view
from fleetbus.cli.audit_lines import stored
from fleetbus.cli.ceremony.charter import read_charter
from fleetbus.cli.ceremony.join import JoinRequest
from fleetbus.cli.ceremony.keys import read_credential
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.cluster_join import admitted as admitted_token
from fleetbus.cli.cluster_join import pinned_by
from fleetbus.cli.keys import folder_fleet
from fleetbus.cli.output import Output, Screen
from fleetbus.cli.rotate_publish import Changing
from fleetbus.client import Fleet
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.loop import first
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.audit import ORIGIN, Walk, step
from fleetbus.schemas.capabilities.clusters import CONNECTED, SYNCED
from fleetbus.schemas.capabilities.commands import CommandOrder
from fleetbus.schemas.charter import Charter
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.desired import CommandList
from fleetbus.schemas.enrolment import JoinToken
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.states import Facts, State
from fleetbus.schemas.streams import DESIRED, STATE
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer, admitted
from tests.integration.controller.people import program
from tests.simulation.fleet import agent_state_definition
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.tokens import user_credential
from tests.waiting import wait_until

SOON_S = 30.0
agent_version()
"""Read from files once a process: here, before there is a loop to be kept waiting."""


@dataclass
class Member:
    """A cluster that has joined, and its agent while it runs. `deaf`: one that knows nothing of charters."""

    name: str
    kube: SimulatedKube
    deaf: bool = False
    bus: NatsBus | None = None
    trusted: Trusted | None = None
    task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        settings = parse_settings(await read_secret(self.kube))
        who = settings.identity.cluster
        inbox = subjects.inbox(who.realm, who.name)
        trust = Trust(ca_pem=settings.authorities)
        to = BusSettings(settings.bus_servers, settings.credential, inbox, who.name, trust)
        async with NatsBus(to, CLOCK) as bus:
            self.bus, self.trusted = bus, Trusted(settings, self.kube, trust)
            agent = run_agent(
                settings, bus, self.kube, None, CLOCK, CLOCK.identifier(), catalogue=(), trusted=self.trusted
            )
            await first(agent, *([] if self.deaf else [self.trusted.follow(bus, CLOCK)]))

    @property
    def bus_here(self) -> NatsBus:
        assert self.bus is not None
        return self.bus

    @property
    def charter(self) -> Charter | None:
        return self.trusted.charter if self.trusted else None

    def accepted(self) -> tuple[int, int]:
        """(epoch, serial) of the head that its agent has kept."""
        found = self.kube.cluster.objects(AGENT_STATE).get((NAMESPACE, NAME))
        kept = parse_accepted(parse_state(found.object).get(kept_key("desired")) if found else None, 0)
        return kept.order


@dataclass
class Stand:
    """The bus, its fleet's folder, and whoever takes part."""

    server: FleetServer
    stack: AsyncExitStack
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.server.folder

    @property
    def record(self) -> FleetRecord:
        return read_record(self.folder)

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[NatsBus]:
        """With the controller's credential as it is now, by which whoever owns the broker acts as well."""
        credential = read_credential(self.folder, "controller")
        trust = Trust(ca_pem=self.server.ca_pem)
        to = BusSettings(self.record.bus_servers, credential, subjects.CONTROLLER_INBOX, "owner", trust)
        async with NatsBus(to, CLOCK) as bus, asyncio.timeout(10 * SOON_S):
            await bus.wait_connected()
            yield bus

    def changing(self, *, timeout_s: float = SOON_S, forced: bool = False) -> Changing:
        output = Output(sys.stdout, sys.stderr, Screen(False, 100, False), Screen(False, 100, False))
        return Changing(
            self.folder, None, lambda: folder_fleet(self.folder), timeout_s, forced, CLOCK, output
        )

    async def join(self, *names: str, deaf: bool = False) -> list[Member]:
        """Members of the fleet, whose agents run."""
        documents, joined = [], []
        for name in names:
            key = SigningKey.generate()
            credential = await admitted(self.folder, name, key)
            member = Member(name, _cluster(self, name, credential), deaf)
            spec = {"key": credential.nkey}
            documents.append(
                {
                    "apiVersion": "fleetbus.dev/v1alpha1",
                    "kind": "Cluster",
                    "metadata": {"name": name},
                    "spec": spec,
                }
            )
            self.members[name] = member
            joined.append(member)
        async with folder_fleet(self.folder) as fleet:
            await fleet.apply(documents)
        for member in joined:
            await member.start()
            self.stack.push_async_callback(member.stop)
        return joined

    async def until_synced(self, *names: str) -> None:
        """Until these clusters have accepted what they are told, as they have reported it."""
        await self._until(SYNCED, names)

    async def until_connected(self, *names: str) -> None:
        """Until these clusters are heard."""
        await self._until(CONNECTED, names)

    async def _until(self, condition: str, names: Sequence[str]) -> None:
        async def holds() -> bool:
            found = await self.rows()
            return all(view.condition(found[name], condition).get("status") == "True" for name in names)

        assert await wait_until(holds, CLOCK, SOON_S, 0.2), self.problems()

    def problems(self) -> list[str]:
        """What the controller has complained of, and agents that have ended."""
        log = (self.folder / "log").read_text().splitlines()
        ended = [repr(one.task) for one in self.members.values() if one.task and one.task.done()]
        return [*ended, *(line for line in log if '"level": "info"' not in line)]

    async def facts(self, *names: str) -> list[Facts]:
        """As these clusters have reported them last."""
        found: list[Facts] = []
        async with self.bus() as bus:
            for name in names:
                message = await bus.get_last(STATE.name, subjects.state(ClusterId("main", name), "facts"))
                body = State.from_bytes(unverified(message.data)).body if message else {}
                found.append(Facts.from_json({"kubernetesVersion": "", **body}))
        return found

    async def run_command(self, name: str) -> None:
        """One that stays open, as nobody executes it here."""
        async with folder_fleet(self.folder) as fleet:
            await fleet.run_command(CommandOrder(cluster=name, driver="rehearsal"))

    async def told_commands(self, name: str) -> tuple[int, int]:
        """The epoch of a cluster's list of commands, and how many are in it."""
        async with self.bus() as bus:
            message = await bus.get_last(DESIRED.name, subjects.command(ClusterId("main", name)))
            assert message is not None
            told = CommandList.from_bytes(unverified(message.data))
            return told.epoch, len(told.commands)

    async def audit_is_whole(self) -> bool:
        """Whether the chain, under all keys that the root names, proves itself from its beginning."""
        sealed = read_charter(self.folder, self.record)
        assert sealed is not None
        walk = Walk(last=ORIGIN)
        async with folder_fleet(self.folder) as fleet, aclosing(fleet.audit()) as pages:
            async for page in pages:
                for row in page.rows:
                    one = stored(row)
                    keys, former = sealed.charter.publish, sealed.charter.former
                    walk = step(walk, one.subject, one.envelope, keys, former=former)
        # Of what was changed nothing is the controller's word alone.
        return walk.wrong == 0 and walk.unsigned == 0 and walk.records > 0

    async def token(self, name: str) -> JoinToken:
        """A join token, as `fleetbus cluster join NAME -o token` prints it."""
        async with folder_fleet(self.folder) as fleet:
            return await admitted_token(fleet, JoinRequest(name), pinned_by(self.folder, "", ()))

    async def enrol(self, token: JoinToken) -> Member:
        """A cluster that has nothing but the token, until its agent runs."""
        kube = _empty_cluster(token.cluster, {"token": token.text()})
        await enrolled(kube, CLOCK, lambda to: NatsBus(to, CLOCK))
        member = self.members[token.cluster] = Member(token.cluster, kube)
        await member.start()
        self.stack.push_async_callback(member.stop)
        return member

    async def until_renewed(self, member: Member) -> None:
        """By the user that can only renew, as when the other one has lapsed; its agent does not run."""
        settings = parse_settings(await read_secret(member.kube))
        nowhere = replace(settings, credential=Credential(settings.renewer, settings.credential.seed))
        async with _disconnected() as bus:
            trust = Trust(ca_pem=settings.authorities)
            trusted = Trusted(settings, member.kube, trust)
            connect = lambda to: NatsBus(to, CLOCK)  # noqa: E731
            await renew(Keeping(nowhere, bus, member.kube, CLOCK, connect, trust, trusted))
            assert trusted.keys == frozenset(self.record.signing_keys)

    async def rows(self) -> dict[str, Mapping[str, Any]]:
        async with folder_fleet(self.folder) as fleet:
            return {view.name_of(row.document): row.document for row in (await fleet.list("Cluster")).rows}

    def controller(
        self, folder: Path | None = None
    ) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """The program, with the settings of this fleet's folder or of another."""
        return program((folder or self.folder) / "controller.json")

    async def until_answered(self) -> None:
        async def answers() -> bool:
            async with folder_fleet(self.folder) as fleet:
                return await answered(fleet)

        assert await wait_until(answers, CLOCK, SOON_S, 0.2), (self.folder / "log").read_text()


async def answered(fleet: Fleet) -> bool:
    try:
        await fleet.overview()
    except Exception:
        return False
    return True


@asynccontextmanager
async def _disconnected() -> AsyncIterator[NatsBus]:
    """A bus that has no connection."""
    key = SigningKey.generate()
    to = BusSettings(("tls://127.0.0.1:1",), user_credential(key), "_INBOX_x", "nobody")
    async with NatsBus(to, CLOCK) as bus:
        yield bus


def _cluster(stand: Stand, name: str, credential: Credential) -> SimulatedKube:
    """One in which the agent's Secret lies as enrolment leaves it."""
    kube, record = _empty_cluster(name, {}), stand.record
    cluster = kube.cluster
    home = cluster.find(cluster.kind("v1", "Namespace"), ("", "kube-system"))
    values = {
        "seed": credential.seed,
        "jwt": credential.token,
        "fleet": record.fleet,
        "realm": "main",
        "cluster": name,
        "uid": home.object["metadata"]["uid"],
        "bus-servers": ",".join(record.bus_servers),
        "bus-ca": stand.server.ca_pem,
        "controller-keys": ",".join(record.signing_keys),
        "epoch": str(record.epoch),
        "root": record.operator,
    }
    _put_secret(cluster, values)
    return kube


def _empty_cluster(name: str, values: Mapping[str, str]) -> SimulatedKube:
    cluster = SimulatedCluster(CLOCK, seed=crc32(name.encode()))
    cluster.put(cluster.kind("v1", "Namespace"), ("", NAMESPACE), {"metadata": {}}, {})
    definition = cluster.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    cluster.put(definition, ("", "agentstates.agent.fleetbus.dev"), agent_state_definition(), {})
    _put_secret(cluster, values)
    return SimulatedKube(cluster)


def _put_secret(cluster: SimulatedCluster, values: Mapping[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    secret = {"metadata": {"name": "fleetbus-agent", "namespace": NAMESPACE}, "data": data}
    cluster.put(SECRET, (NAMESPACE, "fleetbus-agent"), secret, {})
