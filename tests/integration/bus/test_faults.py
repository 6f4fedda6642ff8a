"""The server is killed and comes back: everything that was asked for goes on, and no value is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from functools import partial

import orjson
import pytest

from fleetbus.runtime import nats_follow
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.ports import CaughtUp, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SequenceConflict
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.waiting import wait_until

CLOCK = SystemClock()
C1 = ClusterId("main", "c1")


async def crash(fleet: FleetServer, *buses: NatsBus) -> None:
    """kill -9, start again, and wait until everybody is connected again."""
    seen = [bus.connection for bus in buses]
    await fleet.server.kill()
    await fleet.server.start()
    for bus, before in zip(buses, seen, strict=True):
        await asyncio.wait_for(bus.connection_changed(before), 20)


@pytest.fixture
async def controller(own_fleet: FleetServer) -> AsyncIterator[NatsBus]:
    async with own_fleet.bus("controller") as bus:
        yield bus


@pytest.fixture
async def agent(own_fleet: FleetServer) -> AsyncIterator[NatsBus]:
    async with own_fleet.bus("c1") as bus:
        yield bus


async def test_subscriptions_go_on_after_a_crash_of_the_server(
    own_fleet: FleetServer, controller: NatsBus, agent: NatsBus
) -> None:
    async with agent.subscribe(subjects.nudges(C1)) as nudges:
        for _ in range(3):
            sequence = await controller.put(Put(subjects.desired(C1), b""))
            assert (await asyncio.wait_for(nudges.__anext__(), 10)).sequence == sequence
            await crash(own_fleet, controller, agent)


async def test_acknowledged_writes_are_there_after_a_crash_of_the_server(
    own_fleet: FleetServer, controller: NatsBus
) -> None:
    puts = [Put(subjects.desired(ClusterId("main", f"n{number}")), b"x") for number in range(500)]
    last = await controller.put_batch(puts)
    await crash(own_fleet, controller)
    assert len(await controller.get_many("DESIRED", subjects.ALL_HEADS)) == 500
    assert await controller.put(Put(subjects.desired(C1), b"")) == last + 1


async def test_a_follower_misses_no_value_while_the_server_crashes_again_and_again(
    own_fleet: FleetServer, controller: NatsBus, agent: NatsBus
) -> None:
    given: dict[str, list[int]] = {}

    async def follow() -> None:
        async with aclosing(controller.follow("STATE", subjects.ALL_STATES)) as items:
            async for item in items:
                if isinstance(item, Message):
                    given.setdefault(item.subject, []).append(int(item.data))

    following = asyncio.create_task(follow())
    written = {"facts": 0, "session": 0}

    async def write() -> None:
        while True:
            for aspect in written:
                with suppress(BusUnavailable):
                    await agent.put(Put(subjects.state(C1, aspect), b"%d" % (written[aspect] + 1)))
                    written[aspect] += 1
            await asyncio.sleep(0)
            await agent.wait_connected()

    writing = asyncio.create_task(write())
    for crashes in range(3):
        assert await wait_until(partial(_more_than, written, 100 * (crashes + 1)), CLOCK, 20)
        await crash(own_fleet, controller, agent)
    writing.cancel()
    await asyncio.wait([writing])

    async def complete() -> bool:
        return all(given[subjects.state(C1, aspect)][-1] >= last for aspect, last in written.items())

    assert await wait_until(complete, CLOCK, 20)
    following.cancel()
    await asyncio.wait([following])
    for numbers in given.values():
        assert numbers == sorted(numbers)


async def test_every_event_is_followed_exactly_in_order_over_crashes(
    own_fleet: FleetServer, controller: NatsBus
) -> None:
    emitted, pattern = subjects.emit("main", "c1", "bundle.applied"), subjects.events_of("main", "c1")
    seen: list[int] = []
    caught_up = asyncio.Event()

    async def follow() -> None:
        async with aclosing(controller.follow("EVENTS", subjects.ALL_EVENTS)) as items:
            async for item in items:
                if isinstance(item, Message):
                    seen.append(item.sequence)
                else:
                    caught_up.set()

    following = asyncio.create_task(follow())
    await asyncio.wait_for(caught_up.wait(), 10)
    last = 0
    for number in range(60):
        if number % 20 == 10:
            await crash(own_fleet, controller)
        last = await controller.put(Put(emitted, b"{}", expected=last, expected_subject=pattern))
    assert await wait_until(lambda: _true(bool(seen) and seen[-1] == last), CLOCK, 20)
    following.cancel()
    await asyncio.wait([following])
    assert list(dict.fromkeys(seen)) == list(range(1, last + 1))
    assert seen == sorted(seen)


async def test_a_follower_begins_anew_when_the_stream_was_made_again(controller: NatsBus) -> None:
    for number in range(5):
        await controller.put(Put(subjects.status("bundle", f"old{number}"), b"old"))
    async with aclosing(controller.follow("STATUS", subjects.ALL_STATUSES)) as items:
        while not isinstance(await asyncio.wait_for(anext(items), 10), CaughtUp):
            pass
        await controller.request("$JS.API.STREAM.DELETE.STATUS", b"")
        await ensure_streams(controller)
        await controller.put(Put(subjects.status("bundle", "new"), b"new"))
        found = await asyncio.wait_for(anext(items), 30)
        assert isinstance(found, Message)
        assert (found.data, found.sequence) == (b"new", 1)


async def test_a_follower_whose_consumer_is_deleted_makes_another(controller: NatsBus) -> None:
    async with aclosing(controller.follow("STATUS", subjects.ALL_STATUSES)) as items:
        assert isinstance(await asyncio.wait_for(anext(items), 10), CaughtUp)
        told = orjson.loads((await controller.request("$JS.API.CONSUMER.NAMES.STATUS", b"")).data)
        (name,) = told["consumers"]
        await controller.request(f"$JS.API.CONSUMER.DELETE.STATUS.{name}", b"")
        await controller.put(Put(subjects.status("bundle", "web"), b"1"))
        while isinstance(found := await asyncio.wait_for(anext(items), 30), CaughtUp):
            pass
        assert found.data == b"1"


async def test_a_write_lost_on_its_way_to_a_follower_is_noticed_and_given(
    controller: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted = subjects.emit("main", "c1", "bundle.applied")
    seen: list[int] = []
    async with aclosing(controller.follow("EVENTS", subjects.ALL_EVENTS)) as items:
        assert isinstance(await asyncio.wait_for(anext(items), 10), CaughtUp)
        arrive, count = nats_follow._Arrivals.put, itertools.count(1)

        def lossy(self: nats_follow._Arrivals, item: object) -> None:
            if next(count) % 7:
                arrive(self, item)  # type: ignore[arg-type]

        monkeypatch.setattr(nats_follow._Arrivals, "put", lossy)
        for _ in range(60):
            await controller.put(Put(emitted, b""))
        while not seen or seen[-1] < 60:
            item = await asyncio.wait_for(anext(items), 30)
            if isinstance(item, Message):
                seen.append(item.sequence)
    assert seen == list(range(1, 61))


async def test_a_follower_that_stops_leaves_no_consumer_behind(controller: NatsBus) -> None:
    async with aclosing(controller.follow("STATUS", subjects.ALL_STATUSES)) as items:
        await asyncio.wait_for(anext(items), 10)

    async def gone() -> bool:
        told = orjson.loads((await controller.request("$JS.API.CONSUMER.NAMES.STATUS", b"")).data)
        return not told["consumers"]

    assert await wait_until(gone, CLOCK, 10)


async def test_a_slow_follower_gets_a_long_stream_whole(controller: NatsBus) -> None:
    emitted = subjects.emit("main", "c1", "bundle.applied")
    async with aclosing(controller.follow("EVENTS", subjects.ALL_EVENTS)) as items:
        assert isinstance(await asyncio.wait_for(anext(items), 10), CaughtUp)
        async with asyncio.TaskGroup() as writers:
            for _ in range(8):
                writers.create_task(_write(controller, Put(emitted, b"x" * 30_000), 150))
        sequences: list[int] = []
        while len(sequences) < 1200:
            item = await asyncio.wait_for(anext(items), 10)
            if isinstance(item, Message):
                sequences.append(item.sequence)
            await asyncio.sleep(0)
    assert sequences == list(range(1, 1201))


async def _write(bus: NatsBus, put: Put, times: int) -> None:
    for _ in range(times):
        await bus.put(put)


async def test_a_service_answers_again_after_a_crash_of_the_server(
    own_fleet: FleetServer, controller: NatsBus
) -> None:
    async def answer(endpoint: str, message: Message) -> bytes:
        return message.data

    endpoints = {"list": subjects.api("list")}
    serving = asyncio.create_task(controller.serve("fleet", "1.0.0", "", endpoints, answer))
    async with own_fleet.bus("operator") as operator:

        async def answers() -> bool:
            try:
                return (await operator.request(subjects.api("list"), b"x")).data == b"x"
            except BusUnavailable:
                return False

        assert await wait_until(answers, CLOCK, 10)
        await crash(own_fleet, controller, operator)
        assert await wait_until(answers, CLOCK, 10)
    serving.cancel()
    await asyncio.wait([serving])


async def test_of_two_writers_under_one_fence_only_the_newer_term_writes(
    own_fleet: FleetServer, controller: NatsBus
) -> None:
    async with own_fleet.bus("controller") as other:
        old = await controller.put(Put(subjects.TERM, b"old", expected=0))
        new = await other.put(Put(subjects.TERM, b"new", expected=old))
        await crash(own_fleet, controller, other)
        batch = [Put(subjects.desired(C1), b"old", expected=old, expected_subject=subjects.TERM)]
        with pytest.raises(SequenceConflict):
            await controller.put_batch(batch)
        await other.put_batch(
            [Put(subjects.desired(C1), b"new", expected=new, expected_subject=subjects.TERM)]
        )


async def test_nothing_is_sent_later_that_was_published_while_the_server_was_away(
    own_fleet: FleetServer, controller: NatsBus, agent: NatsBus
) -> None:
    async with controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats:
        seen = agent.connection, controller.connection
        await own_fleet.server.kill()
        assert await wait_until(lambda: _true(not agent.connected), CLOCK, 10)
        with pytest.raises(BusUnavailable):
            await agent.publish(subjects.heartbeat(C1), b"old")
        await own_fleet.server.start()
        await asyncio.wait_for(agent.connection_changed(seen[0]), 20)
        await asyncio.wait_for(controller.connection_changed(seen[1]), 20)
        await agent.publish(subjects.heartbeat(C1), b"new")
        assert (await asyncio.wait_for(heartbeats.__anext__(), 10)).data == b"new"


async def _more_than(written: dict[str, int], wanted: int) -> bool:
    return written["facts"] > wanted


async def _true(value: bool) -> bool:
    return value
