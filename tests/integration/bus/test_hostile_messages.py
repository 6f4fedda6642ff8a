"""What a hostile peer can write reaches the readers escaped, live and stored, and what follows it too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import CAUGHT_UP, CaughtUp, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.integration.bus.raw import raw_publisher
from tests.waiting import wait_until

T = TypeVar("T")
C1 = ClusterId("main", "c1")
FACTS = subjects.state(C1, "facts").encode()
HEARTBEAT = subjects.heartbeat(C1).encode()


@dataclass(frozen=True, slots=True)
class Hostile:
    """What stands behind the last token of the subject, in the reply, and in the header block."""

    name: str
    tail: bytes = b""
    reply: bytes = b""
    block: bytes = b""


HOSTILE = [
    Hostile("bytes in the subject", tail=b"\xff\xfe"),
    Hostile("vertical tab in the subject", tail=b"\x0b7\x0b1"),
    Hostile("form feed and separators in the subject", tail=b"\x0c\x1c\x1d\x1e\x1f"),
    Hostile("escape sequence in the subject", tail=b"\x1b[2J"),
    Hostile("line separator in the subject", tail="\u2028".encode()),
    Hostile("bytes in the reply", reply=b"r\xff.\xc3"),
    Hostile("vertical tab in the reply", reply=b"r\x0b1\x0b1"),
    Hostile("bare header block", block=b"NATS/1.0"),
    Hostile("header block without an end", block=b"NATS/1.0\r\n"),
    Hostile("empty header block", block=b"NATS/1.0\r\n\r\n"),
    Hostile("bytes in the status", block=b"NATS/1.0 \xff\xff\xff \xfe\r\n\r\n"),
    Hostile("bytes in a header", block=b"NATS/1.0\r\n\xff: \xfe\r\n\r\n"),
    Hostile("forged not found", block=b"NATS/1.0 404 Message Not Found\r\n\r\n"),
    Hostile("forged end of batch", block=b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n"),
    Hostile("forged no responders", block=b"NATS/1.0 503\r\n\r\n"),
    Hostile("forged heartbeat", block=b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 999\r\n\r\n"),
    Hostile("forged flow control", block=b"NATS/1.0 100 FlowControl Request\r\n\r\n"),
    Hostile(
        "forged place",
        block=b"NATS/1.0\r\nNats-Sequence: 999\r\nNats-Subject: x\r\nNats-Last-Sequence: 5\r\n\r\n",
    ),
    Hostile("place after a blank line", block=b"NATS/1.0\r\nA: 1\r\n\r\nNats-Sequence: 999\r\n\r\n"),
    Hostile("place in other case", block=b"NATS/1.0\r\nnats-sequence: 999\r\nNATS-SEQUENCE: 9\r\n\r\n"),
    Hostile("place given twice", block=b"NATS/1.0\r\nNats-Sequence: 998\r\nNats-Sequence: 999\r\n\r\n"),
    Hostile("number without an end", block=b"NATS/1.0\r\nNats-Sequence: " + b"9" * 6000 + b"\r\n\r\n"),
    Hostile("removal", block=b"NATS/1.0\r\nKV-Operation: PURGE\r\nNats-Marker-Reason: MaxAge\r\n\r\n"),
]

EACH = pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 10)


@EACH
async def test_a_live_subscriber_gets_it_escaped_and_what_follows(
    fleet: FleetServer, controller: NatsBus, hostile: Hostile
) -> None:
    async with (
        controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats,
        raw_publisher(fleet, "controller") as peer,
    ):
        await peer.publish(HEARTBEAT + hostile.tail, b"bad", reply=hostile.reply, block=hostile.block)
        await peer.publish(HEARTBEAT, b"good")
        bad, good = [await soon(heartbeats.__anext__()) for _ in range(2)]
    assert (bad.data, good.data) == (b"bad", b"good")
    assert bad.sequence == 0
    assert readable(bad)
    assert (bad.subject == HEARTBEAT.decode()) is (not hostile.tail)
    assert controller.connection == 1


@EACH
async def test_a_follower_gets_it_with_its_true_place_and_what_follows(
    fleet: FleetServer, controller: NatsBus, hostile: Hostile
) -> None:
    # The acknowledgement of a write with a hostile reply goes to that reply, which nobody hears.
    async with raw_publisher(fleet, "controller") as peer:
        await peer.publish(FACTS + hostile.tail, b"", reply=hostile.reply, block=hostile.block)
        first = await controller.put(Put(subjects.state(C1, "session"), b"good"))
        async with aclosing(controller.follow("STATE", subjects.ALL_STATES)) as items:
            bad, good, told = [await soon(anext(items)) for _ in range(3)]
            assert (place(bad), place(good), told) == (first - 1, first, CAUGHT_UP)
            assert readable(bad)
            await peer.publish(FACTS + hostile.tail, b"", reply=hostile.reply, block=hostile.block)
            second = await controller.put(Put(subjects.state(C1, "session"), b"better"))
            assert [place(await soon(anext(items))) for _ in range(2)] == [second - 1, second]
    assert controller.connection == 1


@EACH
async def test_direct_gets_return_it_with_its_true_place(
    fleet: FleetServer, controller: NatsBus, hostile: Hostile
) -> None:
    async with raw_publisher(fleet, "controller") as peer:
        await peer.publish(FACTS + hostile.tail, b"bad", reply=hostile.reply, block=hostile.block)
    last = await controller.put(Put(subjects.state(C1, "session"), b"good"))
    many = await controller.get_many("STATE", subjects.ALL_STATES)
    assert [(message.data, message.sequence) for message in many] == [(b"bad", last - 1), (b"good", last)]
    assert all(readable(message) for message in many)
    at = await controller.get_at("STATE", last - 1)
    assert at is not None
    assert (at.data, at.sequence) == (b"bad", last - 1)
    if not hostile.tail:
        newest = await controller.get_last("STATE", FACTS.decode())
        assert newest is not None
        assert (newest.data, newest.sequence, newest.subject) == (b"bad", last - 1, FACTS.decode())


async def test_a_service_answers_a_hostile_reply_and_goes_on(fleet: FleetServer, controller: NatsBus) -> None:
    async def answer(endpoint: str, message: Message) -> bytes:
        return b"answer"

    endpoints = {"list": subjects.api("list")}
    serving = asyncio.create_task(controller.serve("fleet", "1.0.0", "", endpoints, answer))
    try:
        async with fleet.bus("operator") as operator, raw_publisher(fleet, "operator") as peer:
            await responding(operator)
            inbox = subjects.personal_inbox(fleet.public_key("operator")).encode()
            for hostile in HOSTILE:
                reply = hostile.reply or inbox + b".x"
                await peer.publish(subjects.api("list").encode(), b"", reply=reply, block=hostile.block)
            assert (await operator.request(subjects.api("list"), b"")).data == b"answer"
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def responding(bus: NatsBus) -> None:
    async def answers() -> bool:
        try:
            await bus.request(subjects.api("list"), b"")
        except BusUnavailable:
            return False
        return True

    assert await wait_until(answers, SystemClock(), 10)


def place(item: Message | CaughtUp) -> int:
    assert isinstance(item, Message)
    return item.sequence


def readable(item: Message | CaughtUp) -> bool:
    """Whether a terminal could show every text of it."""
    assert isinstance(item, Message)
    texts = [item.subject, item.reply, *item.headers, *item.headers.values()]
    return all(text.isprintable() and " " not in item.subject for text in texts)
