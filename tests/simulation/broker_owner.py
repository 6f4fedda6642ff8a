"""A man in the middle who owns the broker: he has every credential on it, and none of the fleet's signing keys.

He forges, replays, reorders, withholds, empties and lies, for as long as he is awaited. What he writes goes past the
fences and past the invariants' books, so anything that comes of it is seen where it is done: in a cluster, or in what
the controller writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import orjson
from nacl.signing import SigningKey

from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Command
from fleetbus.schemas.signing import signer, unverified
from fleetbus.schemas.streams import ARTIFACTS, ASPECTS, DESIRED, STATE
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import SimulatedServer
from tests.simulation.bus_streams import SimulatedStream
from tests.simulation.fleet import SimulatedFleet
from tests.simulation.invariants import WatchedServer

MARK = "forged-by-the-owner"
"""In everything that he makes up: nothing that the fleet writes may ever hold it, but a record of a refusal."""
EVERY_S = 4.0
_KEPT = 200


class OwnedServer(WatchedServer):
    """A bus whose owner reads along: what was stored and what was asked, to play it again."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.recorded: defaultdict[str, list[Message]] = defaultdict(list)
        self.asked: list[Message] = []

    def store(self, stream: SimulatedStream, put: Put) -> int:
        # A record of what was refused may quote it.
        if MARK.encode() in put.data and not subjects.matches(subjects.ALL_AUDITS, put.subject):
            self.invariants.say(f"{put.subject} holds what the owner of the broker made up")
        sequence = super().store(stream, put)
        known = self.recorded[put.subject]
        known.append(Message(put.subject, put.data, headers=dict(put.headers)))
        del known[:-_KEPT]
        return sequence

    def deliver(self, message: Message) -> int:
        if subjects.matches(subjects.ALL_API, message.subject):
            self.asked.append(message)
            del self.asked[:-_KEPT]
        return super().deliver(message)


class BrokerOwner:
    """`deeds` counts what he did, by name."""

    def __init__(self, fleet: SimulatedFleet, server: OwnedServer) -> None:
        self.deeds: defaultdict[str, int] = defaultdict(int)
        self._fleet = fleet
        self._server = server
        self._chance: Random = fleet.chance
        self._key = SigningKey(b"\x0f" * 32)
        self._taken: list[Message] = []

    async def meddle(self, for_s: float) -> None:
        """One deed after the other; at the end he gives back the artifacts that he took, and touches nothing more."""
        until_s = self._fleet.clock.monotonic_s() + for_s
        while self._fleet.clock.monotonic_s() < until_s:
            await self._fleet.clock.sleep(self._chance.expovariate(1 / EVERY_S))
            name = self._chance.choice(sorted(_DEEDS))
            self.deeds[name] += 1
            _DEEDS[name](self)
        for message in self._taken:
            self._write(ARTIFACTS.name, message.subject, message.data)

    def _write(
        self, stream: str, subject: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        SimulatedServer.store(
            self._server, self._server.streams[stream], Put(subject, data, headers=headers or {})
        )

    def _cluster(self) -> ClusterId:
        return self._fleet.members[self._chance.choice(sorted(self._fleet.members))].id

    def _mailbox(self) -> str:
        return self._chance.choice((subjects.desired, subjects.command))(self._cluster())

    def _state(self) -> str:
        aspect = self._chance.choice((*ASPECTS, "result"))
        cluster = self._cluster()
        return subjects.result(cluster) if aspect == "result" else subjects.state(cluster, aspect)

    def _bytes(self, subject: str) -> bytes:
        """Garbage, or the last true content with a lie in it, unsigned, signed by him, or under its old signature."""
        recorded = self._server.recorded[subject]
        if not recorded or self._chance.random() < 0.2:
            return self._chance.choice((b"", b"\xff\xfe", MARK.encode(), b"fleetbus1 a.b\n{}"))
        envelope = recorded[-1].data
        content = self._lie(orjson.loads(unverified(envelope)))
        if self._chance.random() < 0.5:
            return signer(self._key)(subject, content)
        return envelope.partition(b"\n")[0] + b"\n" + content

    def _lie(self, told: dict[str, Any]) -> bytes:
        now = self._fleet.clock.now()
        told["serial"] = told.get("serial", 0) + self._chance.choice((1, 10**6))
        if "set" in told:
            told["set"] = self._chance.choice(("f" * 64, told["set"]))
            told["halts"] = [MARK]
        if "commands" in told:
            made_up = Command(
                id=MARK, driver="rehearsal", issued_at=now, deadline=now.replace(year=2190), issued_by=MARK
            )
            told["commands"] = [made_up.as_json()]
        if "body" in told:
            told["body"] = {**told["body"], "kubernetesVersion": MARK, "accepted": [1, 2**50], "holder": MARK}
        return orjson.dumps(told)

    # what he does

    def _forge_mailbox(self) -> None:
        subject = self._mailbox()
        self._write(DESIRED.name, subject, self._bytes(subject))

    def _forge_state(self) -> None:
        subject = self._state()
        self._write(STATE.name, subject, self._bytes(subject))

    def _replay(self) -> None:
        """An earlier word, true once, in a mailbox or a state."""
        stream, subject = self._chance.choice(((DESIRED.name, self._mailbox()), (STATE.name, self._state())))
        if recorded := self._server.recorded[subject]:
            self._write(stream, subject, self._chance.choice(recorded).data)

    def _swap(self) -> None:
        """What one cluster was told or has said, under another's subject."""
        subject, other = self._mailbox(), self._mailbox()
        stream = DESIRED.name
        if self._chance.random() < 0.5:
            stream, subject, other = STATE.name, self._state(), self._state()
        if subject != other and (recorded := self._server.recorded[other]):
            self._write(stream, subject, recorded[-1].data)

    def _say_it_was_removed(self) -> None:
        self._write(DESIRED.name, self._mailbox(), b"", {"Fleetbus-Removed": "1", "KV-Operation": "PURGE"})

    def _empty(self) -> None:
        """Nobody is told of it."""
        self._server.streams[DESIRED.name].purge(self._mailbox(), self._fleet.clock.now())

    def _break_the_lease(self) -> None:
        """Bytes, or somebody's whom nobody knows and who never lets go, in the place of lease or term."""
        lease = {"holder": MARK, "claim": MARK}
        term = {"term": self._chance.choice((0, 10**6)), "holder": MARK, "epoch": 0}
        subject, record = self._chance.choice(((subjects.LEASE, lease), (subjects.TERM, term)))
        self._write(DESIRED.name, subject, self._chance.choice((b"\xff", orjson.dumps(record))))

    def _nudge(self) -> None:
        """Of what is not there, and in floods."""
        cluster, which = self._cluster(), self._chance.choice(subjects.MAILBOXES)
        subject = {"desired": subjects.desired, "command": subjects.command}[which](cluster)
        sequence = self._chance.choice((1, 2**40))
        headers = {"Nats-Stream": DESIRED.name, "Nats-Subject": subject, "Nats-Sequence": str(sequence)}
        for _ in range(self._chance.choice((1, 50))):
            SimulatedServer.deliver(
                self._server, Message(subjects.nudge(cluster, which), b"", "", headers, sequence)
            )

    def _take_artifact(self) -> None:
        """Gone, or something else under its digest."""
        stream, now = self._server.streams[ARTIFACTS.name], self._fleet.clock.now()
        found = stream.matching(subjects.ALL_ARTIFACTS, now)
        if found:
            one = self._chance.choice(found)
            if MARK.encode() not in one.data:
                self._taken.append(one)
            stream.purge(one.subject, now)
            if self._chance.random() < 0.5:
                self._write(ARTIFACTS.name, one.subject, MARK.encode())

    def _withhold(self) -> None:
        """Somebody sees the bus as it is now, for a while."""
        slot = self._chance.choice(self._fleet.slots)
        for bus in self._fleet.buses_of(slot):
            self._server.freeze(bus)

    def _cut(self) -> None:
        slot = self._chance.choice(self._fleet.slots)
        for bus in self._fleet.buses_of(slot):
            self._server.cut(bus, self._chance.random() * 60.0)

    def _ask_again(self) -> None:
        """What an operator asked once, byte by byte, and as if it were asked now by the same."""
        if self._server.asked:
            one = self._chance.choice(self._server.asked)
            again = replace(one, reply=f"_R_.{self._fleet.clock.identifier()}")
            SimulatedServer.deliver(self._server, again)

    def _ask_something_else(self) -> None:
        """The operator's own header, over a request of his."""
        if self._server.asked:
            one = self._chance.choice(self._server.asked)
            body = orjson.dumps({"kind": "Bundle", "name": "one", "policy": "Remove", "reason": MARK})
            forged = Message(subjects.api("delete"), body, "_R_.x", one.headers)
            SimulatedServer.deliver(self._server, forged)

    def _beat(self) -> None:
        SimulatedServer.deliver(self._server, Message(subjects.heartbeat(self._cluster()), MARK.encode()))


_DEEDS: Mapping[str, Callable[[BrokerOwner], None]] = {
    name: getattr(BrokerOwner, name)
    for name in (
        "_forge_mailbox",
        "_forge_state",
        "_replay",
        "_swap",
        "_say_it_was_removed",
        "_empty",
        "_break_the_lease",
        "_nudge",
        "_take_artifact",
        "_withhold",
        "_cut",
        "_ask_again",
        "_ask_something_else",
        "_beat",
    )
}
