"""Who takes part in the tests of the controller's core: controllers, an operator, and who speaks for a cluster."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.folder import seed_file
from fleetbus.cli.ceremony.keys import read_key
from fleetbus.cli.ceremony.record import read_record
from fleetbus.controller.client_certificates import ClientCertificates
from fleetbus.controller.desk import Desk
from fleetbus.controller.doors import api as door
from fleetbus.controller.doors import enrolment
from fleetbus.controller.issuing import LIFETIME_S, Issuer
from fleetbus.controller.leader import Leader, Term
from fleetbus.controller.ports import Capability, Ports
from fleetbus.controller.term_work import Fleet, work
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Bus, Message, Put, Signer
from fleetbus.runtime.signers import SeedSigner
from fleetbus.schemas import api, requests, subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.desired import Head
from fleetbus.schemas.events import CloudEvent, Happened, Outbox
from fleetbus.schemas.nkeys import Kind, key_of_seed, public_key
from fleetbus.schemas.signing import signer, unverified
from fleetbus.schemas.states import RESULT_ASPECT, Heartbeat, State
from fleetbus.schemas.streams import DESIRED, EVENTS
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import OPERATORS_BY_ROLE, FleetServer
from tests.integration.controller.toy import TOYS
from tests.waiting import wait_until

CLOCK = SystemClock()
FLEET = "test"
OPERATOR_NAMES = {"operator": "ana"} | {one: one for one in OPERATORS_BY_ROLE.values()}
SIGNING_KEY = SigningKey.generate()


@dataclass
class Controller:
    """A controller in this process. `kill` drops it without a goodbye, as -9 would."""

    bus: NatsBus
    leader: Leader
    task: asyncio.Task[None]
    terms: list[Term] = field(default_factory=list)
    desks: list[Desk] = field(default_factory=list)
    """Of each of its terms."""

    async def kill(self) -> None:
        """Its connection goes first, so that nothing it does on the way out reaches the bus."""
        await self.bus.__aexit__(None, None, None)
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def controlling(
    server: FleetServer,
    work_dir: Path,
    holder: str = "one",
    gone: Sequence[str] = (),
    roles: Mapping[str, str] | None = None,
    *,
    capabilities: Sequence[Capability] = TOYS,
    lifetime_s: float = LIFETIME_S,
) -> AsyncIterator[Controller]:
    async with NatsBus(server.settings("controller"), CLOCK) as bus:
        fleet = Fleet(
            name=FLEET,
            bus=bus,
            clock=CLOCK,
            ports=Ports(CLOCK, None, work_dir),
            signing_key=SIGNING_KEY,
            capabilities=capabilities,
            operators=lambda: {key_of(server, who): name for who, name in OPERATOR_NAMES.items()},
            roles=lambda: server.role_keys if roles is None else roles,
            version="1.2.3",
            issuer=issuer_of(server, lifetime_s),
            root=read_record(server.folder).operator,
        )
        leader = Leader(bus, CLOCK, holder=holder, epoch=1, gone=lambda other: other in gone)
        terms: list[Term] = []
        desks: list[Desk] = []

        async def look(desk: Desk) -> None:
            desks.append(desk)

        async def under(term: Term) -> None:
            terms.append(term)
            await work(fleet, term, leader.holds, [door.serve, enrolment.serve, look])

        await bus.wait_connected()
        task = asyncio.create_task(leader.lead(under))
        try:
            yield Controller(bus, leader, task, terms, desks)
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def program(settings: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The controller as its program; its log lies beside its settings."""
    with (settings.parent / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fleetbus.controller", "--config", str(settings), stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def issuer_of(server: FleetServer, lifetime_s: float = LIFETIME_S) -> Issuer:
    """With the keys in the fleet's folder."""
    accounts = read_record(server.folder).accounts

    async def find(name: str) -> Signer:
        key = await asyncio.to_thread(read_key, seed_file(server.folder, name), Kind.ACCOUNT)
        return SeedSigner(key, Kind.ACCOUNT)

    folder = server.folder
    made = ClientCertificates(folder / "clients-ca.crt", folder / "clients-ca.key", CLOCK)
    return Issuer(lambda: accounts, find, CLOCK, lifetime_s, made if server.certificates else None)


def outcome(answer: api.Answer) -> dict[str, Any]:
    """The result; raises the error that was answered."""
    if answer.error is not None:
        raise api.raised(answer.error)
    return answer.result


@dataclass
class Operator:
    """Asks by a bus, and signs by a credential, which need not be the same one's."""

    bus: Bus
    credential: Credential

    def signed(self, verb: str, body: Mapping[str, Any], **changes: Any) -> bytes:
        return self.stated(verb, canonical(dict(body)), **changes)

    def stated(self, verb: str, body: bytes, **changes: Any) -> bytes:
        """As the client signs it, whatever is asked."""
        given = {"id": CLOCK.identifier(), "at": CLOCK.now(), "issuer": self.credential.claims.issuer}
        sign = signer(key_of_seed(self.credential.seed))
        return requests.asked(verb, body, sign=sign, **{**given, **changes})

    async def ask(
        self, verb: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The result; raises the error that was answered."""
        id = CLOCK.identifier()
        message = await self.bus.request(
            subjects.api(verb), self.signed(verb, body, id=id), timeout_s=30, headers=headers
        )
        return outcome(requests.read_answer(message.data, verb, id, {public_key(SIGNING_KEY)}))

    async def send(
        self, verb: str, request: bytes, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The same, of a request as it is."""
        message = await self.bus.request(subjects.api(verb), request, timeout_s=30, headers=headers)
        return outcome(requests.read_answer(message.data, verb, "", ()))

    async def apply(self, *documents: dict[str, Any], **more: Any) -> list[str]:
        result = await self.ask("apply", {"documents": list(documents), **more})
        return [one["verb"] for one in result["applied"]]

    async def wait_answered(self) -> None:
        async def answers() -> bool:
            try:
                await self.ask("list", {"kind": "Cluster"})
            except Exception:
                return False
            return True

        assert await wait_until(answers, CLOCK, 20)


@dataclass
class Speaker:
    """Speaks for a cluster: signs states with its key, and keeps no promise on its own."""

    bus: Bus
    cluster: ClusterId
    seed: str
    uid: str
    serial: int = 0
    outboxes: dict[str, Outbox] = field(default_factory=dict)

    def subject(self, aspect: str) -> str:
        if aspect == RESULT_ASPECT:
            return subjects.result(self.cluster)
        return subjects.state(self.cluster, aspect)

    def signed(self, aspect: str, body: Mapping[str, Any], **changes: Any) -> bytes:
        self.serial += 1
        state = State(
            fleet=FLEET,
            cluster=self.cluster.name,
            uid=self.uid,
            aspect=aspect,
            serial=self.serial,
            at=CLOCK.now(),
            body=dict(body),
            outbox=self.outboxes.get(aspect, Outbox()),
        ).model_copy(update=changes)
        return signer(key_of_seed(self.seed))(self.subject(aspect), state.to_bytes())

    async def say(self, aspect: str, body: Mapping[str, Any], **changes: Any) -> None:
        await self.bus.put(Put(self.subject(aspect), self.signed(aspect, body, **changes)))

    async def start(self) -> None:
        now = CLOCK.now().isoformat()
        await self.say("session", {"holder": "x", "agentVersion": "1", "startedAt": now})

    async def happen(self, aspect: str, *numbers: int) -> None:
        """Add a transition a number to the aspect's outbox, and report it."""
        happened = [
            Happened(type="bundle.applied", subject=f"bundle/b{number}", reason="Applied")
            for number in numbers
        ]
        self.outboxes[aspect] = self.outboxes.get(aspect, Outbox()).with_(CLOCK.now(), *happened)
        await self.say(aspect, {})

    async def beat(self) -> None:
        heartbeat = Heartbeat(session=1, at=CLOCK.now(), server=self.bus.server)
        await self.bus.publish(subjects.heartbeat(self.cluster), heartbeat.to_bytes())


async def head_of(bus: Bus, cluster: ClusterId) -> tuple[Head, Message] | None:
    message = await bus.get_last(DESIRED.name, subjects.desired(cluster))
    return (Head.from_bytes(unverified(message.data)), message) if message else None


async def events(bus: Bus) -> list[CloudEvent]:
    found = await bus.get_many(EVENTS.name, subjects.ALL_EVENTS, limit=10_000)
    return [CloudEvent.from_bytes(message.data) for message in found]


def is_in_order(found: Sequence[CloudEvent]) -> bool:
    """Each origin's transitions: every one, once, in order."""
    by_origin: dict[str, list[int]] = {}
    for event in found:
        by_origin.setdefault(event.origin, []).append(event.transition)
    return all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_origin.values())


def key_of(server: FleetServer, who: str) -> str:
    return server.public_key(who)


SOON = timedelta(seconds=20)
