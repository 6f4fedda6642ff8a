"""The man in the middle on a real server: he has the controller's credential on the bus and the system's, and no key.

Each deed is a value with what is promised of it; docs/security/attacks.md lists them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import orjson
from nacl.signing import SigningKey

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Command, CommandList, Head
from fleetbus.schemas.models import Received
from fleetbus.schemas.signing import signer, unverified
from fleetbus.schemas.streams import ASPECTS, DESIRED, STATE
from tests.attacks.world import ATTACKER
from tests.integration.controller.people import CLOCK

VICTIM = ATTACKER
"""The cluster whose agent is at work meanwhile."""
FORGED = "forged"
NAME = "owner"
R = TypeVar("R", bound=Received)
MAILBOXES = (subjects.desired(VICTIM), subjects.command(VICTIM))
REPORTS = (*(subjects.state(VICTIM, aspect) for aspect in ASPECTS), subjects.result(VICTIM))


@dataclass(slots=True)
class BrokerOwner:
    """Inside the account of the streams, and in the system's. He keeps what he has seen, to play it again."""

    bus: NatsBus
    system: NatsBus
    chance: Random = field(default_factory=lambda: Random(1))
    key: SigningKey = field(default_factory=SigningKey.generate)
    seen: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    done: set[str] = field(default_factory=set)
    """What he has done at least once."""
    written: set[bytes] = field(default_factory=set)
    asked: list[Message] = field(default_factory=list)

    async def look(self) -> None:
        """Remember what stands now, if it is not his own."""
        for stream, rows in ((DESIRED.name, MAILBOXES), (STATE.name, REPORTS)):
            for subject in rows:
                found = await self.bus.get_last(stream, subject)
                if found is not None and found.data not in (*self.seen[subject], *self.written):
                    self.seen[subject].append(found.data)

    async def eavesdrop(self) -> None:
        """Every request of an operator's, as it crosses."""
        async with self.bus.subscribe(subjects.ALL_API) as requests:
            async for message in requests:
                self.asked.append(message)

    async def write(self, subject: str, data: bytes) -> None:
        if data not in self.seen[subject]:
            self.written.add(data)
        await self.bus.put(Put(subject, data))


Deed = Callable[[BrokerOwner], Awaitable[None]]


async def _bytes_in_a_mailbox(owner: BrokerOwner) -> None:
    await owner.write(
        owner.chance.choice(MAILBOXES), owner.chance.choice((b"", b"\xff\xfe", b"fleetbus1 a.b\n{}"))
    )


async def _own_head(owner: BrokerOwner) -> None:
    subject = subjects.desired(VICTIM)
    if owner.seen[subject]:
        head = _content(Head, owner.seen[subject][-1])
        forged = head.model_copy(update={"serial": head.serial + 10**6, "halts": ("*",), "set": "f" * 64})
        await owner.write(subject, signer(owner.key)(subject, forged.to_bytes()))


async def _own_commands(owner: BrokerOwner) -> None:
    subject, now = subjects.command(VICTIM), CLOCK.now()
    if owner.seen[subject]:
        told = _content(CommandList, owner.seen[subject][-1])
        command = Command(
            id=FORGED,
            driver="rehearsal",
            arguments={"outcome": "succeeds", "steps": 1, "stepS": 0.0},
            issued_at=now,
            deadline=now.replace(year=now.year + 1),
            issued_by=FORGED,
        )
        forged = told.model_copy(update={"serial": told.serial + 10**6, "commands": (command,)})
        await owner.write(subject, signer(owner.key)(subject, forged.to_bytes()))


async def _changed_under_its_signature(owner: BrokerOwner) -> None:
    subject = owner.chance.choice(MAILBOXES)
    if owner.seen[subject]:
        first, _, content = owner.seen[subject][-1].partition(b"\n")
        told = orjson.loads(content)
        told["serial"] += 1
        await owner.write(subject, first + b"\n" + orjson.dumps(told))


async def _earlier_word(owner: BrokerOwner) -> None:
    subject = owner.chance.choice(MAILBOXES)
    if owner.seen[subject]:
        await owner.write(subject, owner.chance.choice(owner.seen[subject]))


async def _swapped_mailboxes(owner: BrokerOwner) -> None:
    desired, command = MAILBOXES
    if owner.seen[desired]:
        await owner.write(command, owner.seen[desired][-1])


async def _emptied_mailbox(owner: BrokerOwner) -> None:
    """By a connection of which nobody is told what it purges."""
    await owner.bus.purge(DESIRED.name, owner.chance.choice(MAILBOXES))


async def _said_to_be_removed(owner: BrokerOwner) -> None:
    owner.written.add(b"")
    subject = owner.chance.choice(MAILBOXES)
    await owner.bus.put(Put(subject, b"", headers={"Fleetbus-Removed": "1", "KV-Operation": "PURGE"}))


async def _broken_lease(owner: BrokerOwner) -> None:
    await owner.write(owner.chance.choice((subjects.LEASE, subjects.TERM)), b"\xff")


async def _bytes_in_a_report(owner: BrokerOwner) -> None:
    await owner.write(owner.chance.choice(REPORTS), b"\xff\xfe")


async def _own_report(owner: BrokerOwner) -> None:
    subject = owner.chance.choice(REPORTS)
    if owner.seen[subject]:
        told = orjson.loads(unverified(owner.seen[subject][-1]))
        told["serial"] += 10**6
        told["body"] = {**told["body"], "kubernetesVersion": FORGED, "holder": FORGED}
        await owner.write(subject, signer(owner.key)(subject, orjson.dumps(told)))


async def _earlier_report(owner: BrokerOwner) -> None:
    subject = owner.chance.choice(REPORTS)
    if owner.seen[subject]:
        await owner.write(subject, owner.chance.choice(owner.seen[subject]))


async def _nudges(owner: BrokerOwner) -> None:
    for which, subject in zip(subjects.MAILBOXES, MAILBOXES, strict=True):
        headers = {"Nats-Stream": DESIRED.name, "Nats-Subject": subject, "Nats-Sequence": str(2**40)}
        for _ in range(20):
            await owner.bus.publish(subjects.nudge(VICTIM, which), b"", headers=headers)


async def _heartbeats(owner: BrokerOwner) -> None:
    for _ in range(20):
        await owner.bus.publish(subjects.heartbeat(VICTIM), b'{"session":1}')


async def _request_again(owner: BrokerOwner) -> None:
    if owner.asked:
        one = owner.chance.choice(owner.asked[-50:])
        await owner.bus.publish(
            one.subject, one.data, reply=f"{subjects.CONTROLLER_INBOX}.x", headers=one.headers
        )


async def _request_of_his_own(owner: BrokerOwner) -> None:
    """Under a header that the server wrote for the operator."""
    if owner.asked:
        order = {
            "cluster": VICTIM.name,
            "driver": "rehearsal",
            "arguments": {"outcome": "succeeds", "message": FORGED},
        }
        body = orjson.dumps({"action": "run", "order": order})
        headers = owner.asked[-1].headers
        await owner.bus.publish(
            subjects.api("command"), body, reply=f"{subjects.CONTROLLER_INBOX}.x", headers=headers
        )


async def _ended_connections(owner: BrokerOwner) -> None:
    """Everybody's but his own two."""
    asked = await owner.system.request("$SYS.REQ.SERVER.PING.CONNZ", b"{}")
    told = orjson.loads(asked.data)
    for one in told["data"]["connections"]:
        if one.get("name") != NAME:
            body = orjson.dumps({"cid": one["cid"]})
            await owner.system.request(subjects.kick(told["server"]["id"]), body)


def _content(model: type[R], envelope: bytes) -> R:
    return model.from_bytes(unverified(envelope))


@dataclass(frozen=True, slots=True)
class Meddling:
    """One thing that he does, and what is promised of it."""

    what: str
    promised: str
    deed: Deed


REFUSED = "the agent refuses it and says so; the controller tells the cluster again"
UNREAD = "the controller refuses it and says so; the agent reports again"
MEDDLINGS = (
    Meddling("writes bytes over a mailbox", REFUSED, _bytes_in_a_mailbox),
    Meddling("puts a newer head in a mailbox, signed with a key of his", REFUSED, _own_head),
    Meddling("puts a newer list of commands in a mailbox, signed with a key of his", REFUSED, _own_commands),
    Meddling("changes a head or a list under its signature", REFUSED, _changed_under_its_signature),
    Meddling("puts an earlier head or list back", REFUSED, _earlier_word),
    Meddling("puts a head where the list of commands is", REFUSED, _swapped_mailboxes),
    Meddling(
        "empties a mailbox", "what was told stays; the controller tells the cluster again", _emptied_mailbox
    ),
    Meddling("says that a mailbox was removed", REFUSED, _said_to_be_removed),
    Meddling(
        "writes bytes over the lease and the term",
        "the term ends, and a controller takes the next",
        _broken_lease,
    ),
    Meddling("writes bytes over what a cluster has reported", UNREAD, _bytes_in_a_report),
    Meddling("puts a newer report in its place, signed with a key of his", UNREAD, _own_report),
    Meddling("puts an earlier report back", UNREAD, _earlier_report),
    Meddling("nudges of what is not there, in floods", "the agent looks, and finds what it has", _nudges),
    Meddling("beats for a cluster", "it passes for there: heartbeats are not signed", _heartbeats),
    Meddling("asks again what an operator has asked", "the controller refuses it", _request_again),
    Meddling(
        "asks in an operator's name what that never asked", "the controller refuses it", _request_of_his_own
    ),
    Meddling("ends everybody's connection", "they connect again", _ended_connections),
)
