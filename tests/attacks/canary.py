"""Those who must not notice: what is stored, who is connected, and a message on its whole way after each attack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from fleetbus.agent.desired import is_about
from fleetbus.client import Event, Fleet
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import verify
from fleetbus.schemas.streams import DESIRED, EVENTS, STREAMS
from fleetbus.schemas.subjects import matches
from tests.attacks.world import ATTACKER, BYSTANDER, CANARY, MEMBER, NEWCOMER, SUBSCRIBER, World
from tests.integration.controller.people import CLOCK, SIGNING_KEY

PATIENCE_S = 20.0
MOVES = (
    # The attacker's own row, and what is said of it.
    subjects.states_of(ATTACKER),
    subjects.result(ATTACKER),
    subjects.status("cluster", ATTACKER.name),
    subjects.enrolment(MEMBER),
    # What goes on by itself: the lease, the term of a restarted controller, the canary, who is refused.
    subjects.LEASE,
    subjects.TERM,
    subjects.state(BYSTANDER, CANARY),
    subjects.state(BYSTANDER, "session"),
    subjects.status("fleet", "fleet"),
)
FORGED = "forged"
TOLD_OF = {f"cluster/{name}" for name in (ATTACKER.name, NEWCOMER.name, MEMBER.name)}
"""Of whom the controller may say what it likes meanwhile."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is stored and how, as far as no attack may touch it."""

    streams: Mapping[str, Any]
    values: Mapping[str, tuple[int, str]]
    """Of every subject with what is stored under it: the number of messages, and a digest of all."""

    def differences(self, after: Footprint) -> list[str]:
        found = [
            f"stream {name} is not as it was"
            for name in sorted({*self.streams, *after.streams})
            if self.streams.get(name) != after.streams.get(name)
        ]
        found += [
            f"{subject} is not as it was"
            for subject in sorted({*self.values, *after.values})
            if self.values.get(subject) != after.values.get(subject)
            and not (_is_audit(subject) and subject not in self.values and after.values[subject][1] != FORGED)
        ]
        return found


async def footprint(bus: NatsBus) -> Footprint:
    listed = orjson.loads((await bus.request(subjects.jetstream_api("STREAM.LIST"), b"{}")).data)
    streams = {one["config"]["name"]: one["config"] for one in listed["streams"]}
    digests: dict[str, tuple[int, Any]] = {}
    forged: set[str] = set()
    # What EVENTS holds the subscriber has heard, and says whether it may be.
    for name in sorted({stream.name for stream in STREAMS} & streams.keys() - {EVENTS.name}):
        for message in await bus.get_many(name, ">", limit=100_000):
            subject = message.subject
            if any(matches(one, subject) for one in MOVES):
                continue
            count, digest = digests.setdefault(subject, (0, sha256()))
            digest.update(b"%d %d " % (message.sequence, len(message.data)) + message.data)
            digests[subject] = (count + 1, digest)
            if _is_audit(subject) and not _is_signed(subject, message.data):
                forged.add(subject)
    values = {name: (count, one.hexdigest()) for name, (count, one) in digests.items()}
    return Footprint(streams, values | dict.fromkeys(forged, (1, FORGED)))


def _is_audit(subject: str) -> bool:
    """What grows: new records may come behind, if the controller has signed them."""
    return matches(subjects.ALL_AUDITS, subject)


def _is_signed(subject: str, data: bytes) -> bool:
    try:
        verify(subject, data, {public_key(SIGNING_KEY)})
    except FleetbusError:
        return False
    return True


@dataclass(slots=True)
class Bystanders:
    """Everybody else. `check` proves that they have not noticed."""

    world: World
    subscriber: NatsBus
    heard: list[Event] = field(default_factory=list)
    nudged: list[Message] = field(default_factory=list)
    told: int = 0
    judged: int = 0
    """The last event that was looked at."""
    before: Footprint | None = None
    """As it was at the last check: so what comes late is seen by the next one."""

    async def check(self) -> None:
        """AssertionError when somebody has noticed something, or does not answer in time."""
        async with asyncio.timeout(PATIENCE_S):
            await self._canary_arrives()
            await self._mailbox_is_read()
            after = await footprint(self.world.look)
        connections = [bus.connection for bus in self._buses()]
        assert connections == [1] * len(connections), connections
        if self.before is not None:
            assert self.before.differences(after) == []
        self.before = after

    def _buses(self) -> list[NatsBus]:
        world = self.world
        found = [world.look, world.operator.bus, world.bystander.bus, self.subscriber]
        if world.controller is not None:
            found.append(world.controller.bus)
        return [bus for bus in found if isinstance(bus, NatsBus)]

    async def _canary_arrives(self) -> None:
        """From the bystander's agent through the controller to a subscriber, in order and once."""
        self.told += 1
        await self.world.bystander.beat()
        await self.world.bystander.happen(CANARY, self.told)
        while len(mine := self._canaries()) < self.told:
            await CLOCK.sleep(0.005)
        assert mine == [f"bundle/b{number}" for number in range(1, self.told + 1)]
        await self._events_are_due()
        rows = await self.world.operator.ask("list", {"kind": "Cluster", "names": [BYSTANDER.name]})
        live = rows["rows"][0]["live"]
        assert live["connected"], live
        assert "refused" not in live, live

    async def _events_are_due(self) -> None:
        """What is stored has been heard, each once and in order, and none tells what was not so."""
        stored = await self.world.look.get_many(EVENTS.name, ">", after=self.judged, limit=100_000)
        newest = max(message.sequence for message in stored)
        while self.heard[-1].sequence < newest:
            await CLOCK.sleep(0.005)
        sequences = [event.sequence for event in self.heard]
        assert sequences == sorted(set(sequences))
        assert {message.sequence for message in stored} <= set(sequences)
        assert [event for event in self.heard if event.sequence > self.judged and not _is_due(event)] == []
        self.judged = newest

    def _canaries(self) -> list[str]:
        return [one.subject for one in self.heard if one.short_type == "bundle.applied"]

    async def _mailbox_is_read(self) -> None:
        """The bystander's own mailbox is the controller's word, and whoever nudges him is not believed for it."""
        subject = subjects.desired(BYSTANDER)
        head = await self.world.bystander.bus.get_last(DESIRED.name, subject)
        assert head is not None
        verify(subject, head.data, {public_key(SIGNING_KEY)})
        for message in self.nudged:
            assert not is_about(message, subject) or message.sequence <= head.sequence, message


def _is_due(event: Event) -> bool:
    """Whether it is a canary, or the controller's own word on the attacker or on who is at the door."""
    if event.short_type == "bundle.applied":
        return event.cluster == BYSTANDER.name
    return event.cluster == ATTACKER.name or event.subject in TOLD_OF | {
        f"cluster/{BYSTANDER.name}",
        "bundle/web",
    }


async def _settled(world: World) -> None:
    """Every member has been told, and nothing moves any more but what always does."""
    heads = [subjects.desired(one) for one in (ATTACKER, BYSTANDER, MEMBER)]
    async with asyncio.timeout(PATIENCE_S):
        before, now = None, await footprint(world.look)
        while before is None or before.differences(now) or not now.values.keys() >= set(heads):
            await CLOCK.sleep(0.3)
            before, now = now, await footprint(world.look)


@asynccontextmanager
async def bystanders(world: World) -> AsyncIterator[Bystanders]:
    async with (
        world.fleet.bus(SUBSCRIBER) as bus,
        world.bystander.bus.subscribe(subjects.nudges(BYSTANDER)) as nudges,
    ):
        found = Bystanders(world, bus)

        async def subscribe() -> None:
            client = Fleet(bus, CLOCK, world.fleet.credentials[SUBSCRIBER])
            async for event in client.events("*", 0):
                found.heard.append(event)

        async def be_nudged() -> None:
            async for message in nudges:
                found.nudged.append(message)

        tasks = [asyncio.create_task(subscribe()), asyncio.create_task(be_nudged())]
        try:
            await _settled(world)
            await found.check()
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
