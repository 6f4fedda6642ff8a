"""What an agent may write at all, with headers, bytes and sizes that no agent would send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleetbus.client import Fleet
from fleetbus.schemas import subjects
from fleetbus.schemas.streams import ASPECTS, STATE
from fleetbus.schemas.subjects import MAIN
from tests.attacks.attack import (
    OWN_FACTS,
    Attack,
    Attempt,
    Result,
    Scene,
    each,
    headers,
    judged,
    publishing,
    storing,
    writing,
)
from tests.attacks.world import AGENT, ATTACKER, BYSTANDER, SUBSCRIBER
from tests.integration.bus.raw import publication
from tests.integration.controller.people import CLOCK

SOON = "@at 2026-01-01T00:00:00Z"
OTHER = subjects.state(BYSTANDER, "facts")

FEATURES: Mapping[str, tuple[Mapping[str, str], Result]] = {
    "rolls up its subject": ({"Nats-Rollup": "sub"}, Result.NOT_STORED),
    "rolls up the whole stream": ({"Nats-Rollup": "all"}, Result.NOT_STORED),
    "asks for a life of its own": ({"Nats-TTL": "1s"}, Result.NOT_STORED),
    "asks for eternal life": ({"Nats-TTL": "never"}, Result.NOT_STORED),
    "schedules a message for another's row": (
        {"Nats-Schedule": SOON, "Nats-Schedule-Target": OTHER},
        Result.NOT_STORED,
    ),
    "schedules what another's row holds for its own": (
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Source": OTHER, "Nats-Schedule-Target": OWN_FACTS},
        Result.NOT_STORED,
    ),
    "opens an atomic batch": ({"Nats-Batch-Id": "a", "Nats-Batch-Sequence": "1"}, Result.NOT_STORED),
    "commits an atomic batch": (
        {"Nats-Batch-Id": "a", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
        Result.NOT_STORED,
    ),
    "counts": ({"Nats-Incr": "+1"}, Result.NOT_STORED),
    "names another stream": ({"Nats-Expected-Stream": "DESIRED"}, Result.NOT_STORED),
    "expects a sequence that is not": ({"Nats-Expected-Last-Sequence": "1"}, Result.NOT_STORED),
    "expects a message that is not": ({"Nats-Expected-Last-Msg-Id": "x"}, Result.NOT_STORED),
    "writes late, as a second agent that lost its session": (
        {"Nats-Expected-Last-Subject-Sequence": "1"},
        Result.NOT_STORED,
    ),
    "expects what stands in another's row": (
        {
            "Nats-Expected-Last-Subject-Sequence": "999999",
            "Nats-Expected-Last-Subject-Sequence-Subject": OTHER,
        },
        Result.NOT_STORED,
    ),
    "asks for a level of the API that there is not": ({"Nats-Required-Api-Level": "999"}, Result.OWN_ROW),
    "says that it was deleted": ({"KV-Operation": "DEL"}, Result.OWN_ROW),
    "says that its subject was purged": ({"KV-Operation": "PURGE"}, Result.OWN_ROW),
    "says that it aged away": ({"Nats-Marker-Reason": "MaxAge"}, Result.OWN_ROW),
    "says that it was removed": ({"Nats-Marker-Reason": "Remove"}, Result.OWN_ROW),
    "says what our follower says of a purge": ({"Fleetbus-Removed": "1"}, Result.OWN_ROW),
    "says another place in another stream": (
        {
            "Nats-Stream": "DOCUMENTS",
            "Nats-Subject": OTHER,
            "Nats-Sequence": "999999",
            "Nats-Time-Stamp": "x",
        },
        Result.OWN_ROW,
    ),
    "says that it is a copy from another stream": (
        {"Nats-Stream-Source": "DOCUMENTS 1 > >"},
        Result.NOT_STORED,
    ),
    "says who sent it": (
        {"Nats-Request-Info": '{"acc":"FLEET","user":"ana","jwt":"a.b.c"}'},
        Result.OWN_ROW,
    ),
    "says how far events have come": ({"Fleetbus-Emitted": '{"uid-2/bundles-0": 999999}'}, Result.OWN_ROW),
    "takes the identifier of another's write": ({"Nats-Msg-Id": "uid-2"}, Result.OWN_ROW),
}
"""Header features, each with the headers that ask for it."""

TRACES = (
    subjects.jetstream_api("STREAM.DELETE.DOCUMENTS"),
    subjects.state(BYSTANDER, "facts"),
    subjects.desired(BYSTANDER),
    "$SYS.REQ.SERVER.PING",
)

BLOCKS: Mapping[str, bytes] = {
    "a bare header block": b"NATS/1.0",
    "a header block without an end": b"NATS/1.0\r\n",
    "an empty header block": b"NATS/1.0\r\n\r\n",
    "bytes in the status": b"NATS/1.0 \xff\xff\xff \xfe\r\n\r\n",
    "bytes in a header": b"NATS/1.0\r\n\xff: \xfe\r\n\r\n",
    "a header without a colon": b"NATS/1.0\r\nBroken\r\n\r\n",
    "a header of another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
    "a forged not found": b"NATS/1.0 404 Message Not Found\r\n\r\n",
    "a forged end of a batch": b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
    "a forged want of responders": b"NATS/1.0 503\r\n\r\n",
    "a forged idle heartbeat": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 999\r\n\r\n",
    "a forged flow control": b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    "a stalled consumer": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.x\r\n\r\n",
    "a place behind a blank line": b"NATS/1.0\r\nA: 1\r\n\r\nNats-Sequence: 999\r\n\r\n",
    "a place in other case": b"NATS/1.0\r\nnats-sequence: 999\r\nNATS-SEQUENCE: 9\r\n\r\n",
    "a place given twice": b"NATS/1.0\r\nNats-Sequence: 998\r\nNats-Sequence: 999\r\n\r\n",
    "a number without an end": b"NATS/1.0\r\nNats-Sequence: " + b"9" * 6000 + b"\r\n\r\n",
    "ten thousand headers": b"NATS/1.0\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(10_000)) + b"\r\n",
    "an escape sequence in a header": b"NATS/1.0\r\nTitle: \x1b]52;c;bad\x07\x1b[2J\r\n\r\n",
    "a vertical tab in a header": b"NATS/1.0\r\nA\x0b1: b\x0b1\r\n\r\n",
}
REPLIES: Mapping[str, bytes] = {
    "bytes": b"r\xff.\xc3",
    "a vertical tab": b"r\x0b1\x0b1",
    "a form feed and separators": b"r\x0c\x1c\x1d\x1e\x1f",
    "an escape sequence": b"r\x1b[2J",
    "a line separator": "r\u2028".encode(),
    "empty tokens": b"..",
    "3,500 bytes": b"r" * 3_500,
}
TAILS: Mapping[str, bytes] = {
    "bytes": b"\xff\xfe",
    "a vertical tab": b"\x0b7\x0b1",
    "a form feed and separators": b"\x0c\x1c\x1d\x1e\x1f",
    "an escape sequence": b"\x1b[2J",
    "a line separator": "\u2028".encode(),
    "an empty token": b".",
    "a null byte": b"\x00",
}


def attacks() -> Iterator[Attack]:
    for what, (fields, result) in FEATURES.items():
        yield Attack(
            what, AGENT, f"writes a state that {what}", result, storing(OWN_FACTS, block=headers(**fields))
        )
    for target in TRACES:
        traced = publishing(OWN_FACTS, block=headers(Nats_Trace_Dest=target))
        what = f"has the way of a message traced to `{target}`"
        yield Attack(f"trace {target}", AGENT, what, Result.REFUSED, traced)
    for what, wire in BLOCKS.items():
        yield Attack(
            f"headers: {what}", AGENT, f"stores and sends {what}", Result.NOTHING, _everywhere(block=wire)
        )
    for what, reply in REPLIES.items():
        said = f"stores and sends with a reply subject of {what}"
        yield Attack(f"reply bytes: {what}", AGENT, said, Result.NOTHING, _everywhere(reply=reply))
    for what, tail in TAILS.items():
        tried = each(
            publishing(subject.encode() + tail) for subject in (OWN_FACTS, subjects.heartbeat(ATTACKER))
        )
        yield Attack(
            f"tail: {what}", AGENT, f"writes to its own subjects with {what} behind", Result.REFUSED, tried
        )
    yield Attack(
        "restart over hostile rows",
        AGENT,
        "leaves hostile bytes in each of its subjects while the controller restarts, and a subscriber starts",
        Result.NOTHING,
        _restarted,
    )
    yield from _sizes()


def _everywhere(*, reply: bytes = b"", block: bytes = b"") -> Attempt:
    """On each kind of subject of the attacker's own: stored, and heard live."""

    async def attempt(scene: Scene) -> Result:
        rows = (OWN_FACTS, subjects.result(ATTACKER), subjects.heartbeat(ATTACKER), subjects.answer(ATTACKER))
        async with scene.peer() as peer:
            wire = (publication(one.encode(), b"\xff{}", reply=reply, block=block) for one in rows)
            return judged(await peer.say(b"".join(wire)))

    return attempt


async def _restarted(scene: Scene) -> Result:
    """What is stored meets every reader at its start."""
    rows = (*(subjects.state(ATTACKER, aspect) for aspect in ASPECTS), subjects.result(ATTACKER))
    hostile = [*BLOCKS.values(), b""]
    async with scene.peer() as peer:
        for number, subject in enumerate(rows):
            await peer.publish(subject.encode(), b"\xff\xfe\x00", block=hostile[number % len(hostile)])
    await scene.world.restart_controller()
    async with scene.world.fleet.bus("controller") as reader:
        found = await reader.get_many(STATE.name, subjects.states_of(ATTACKER), limit=1000)
    async with scene.world.fleet.bus(SUBSCRIBER) as bus:
        client = Fleet(bus, CLOCK, scene.world.fleet.credentials[SUBSCRIBER])
        events = [event async for event in client.events("*", 0, follow=False)]
    return Result.NOTHING if len(found) == len(ASPECTS) and events else Result.SUCCEEDED


def _sizes() -> Iterator[Attack]:
    def size(what: str, result: Result, attempt: Attempt) -> Attack:
        return Attack(what, AGENT, what, result, attempt)

    own = subjects.inbox(MAIN, AGENT).encode()
    yield size(
        "stores a state as large as one may be", Result.OWN_ROW, storing(OWN_FACTS, data=b"x" * 500_000)
    )
    yield size("stores a state larger than that", Result.NOT_STORED, storing(OWN_FACTS, data=b"x" * 600_000))
    yield size(
        "sends more bytes than a message may have",
        Result.HUNG_UP,
        publishing(OWN_FACTS, data=b"x" * 1_100_000),
    )
    yield size("announces a gigabyte", Result.HUNG_UP, writing(b"PUB %b 1073741824\r\n" % OWN_FACTS.encode()))
    yield size(
        "announces less than nothing", Result.HUNG_UP, writing(b"PUB %b -1\r\n\r\n" % OWN_FACTS.encode())
    )
    yield size(
        "announces headers larger than the message",
        Result.HUNG_UP,
        writing(b"HPUB %b 100 10\r\nNATS/1.0\r\n\r\n" % OWN_FACTS.encode()),
    )
    yield size(
        "sends a control line without an end",
        Result.HUNG_UP,
        writing(b"PUB %b %b 1\r\n" % (OWN_FACTS.encode(), b"r" * 100_000)),
    )
    yield size("listens with 200 tokens", Result.REFUSED, writing(b"SUB %b%b 1\r\n" % (own, b".x" * 200)))
    yield size("unsubscribes what is not there", Result.NOTHING, writing(b"UNSUB 99\r\nUNSUB 99 5\r\n"))
