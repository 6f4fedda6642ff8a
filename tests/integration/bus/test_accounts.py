"""What each credential can do on the server's own configuration, and that what it cannot do does nothing."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.ports import Put
from fleetbus.schemas import streams, subjects
from fleetbus.schemas.errors import NotPermitted
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.waiting import wait_until

C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")
DIGEST, MISSING = "a" * 64, "b" * 64
CLOCK = SystemClock()


async def contents(bus: NatsBus) -> dict[str, list[tuple[str, bytes, int]]]:
    """Everything in every stream."""
    return {
        stream.name: [
            (message.subject, message.data, message.sequence)
            for message in await bus.get_many(stream.name, ">", limit=10_000)
        ]
        for stream in streams.STREAMS
    }


async def test_an_agent_can_do_everything_in_its_own_row(agent: NatsBus, controller: NatsBus) -> None:
    await controller.put(Put(subjects.desired(C1), b"head"))
    await controller.put(Put(subjects.command(C1), b"commands"))
    await controller.put(Put(subjects.artifact(DIGEST), b"set"))
    await controller.put(Put(subjects.emit("main", "c1", "bundle.applied"), b"event"))
    found = [
        await agent.get_last("DESIRED", subjects.desired(C1)),
        await agent.get_last("DESIRED", subjects.command(C1)),
        await agent.get_last("ARTIFACTS", subjects.artifact(DIGEST)),
        await agent.get_last("EVENTS", subjects.events_of("main", "c1")),
    ]
    assert [message.data for message in found if message] == [b"head", b"commands", b"set", b"event"]
    assert await agent.get_last("ARTIFACTS", subjects.artifact(MISSING)) is None
    for subject in (*(subjects.state(C1, aspect) for aspect in streams.ASPECTS), subjects.result(C1)):
        sequence = await agent.put(Put(subject, b"own", expected=0))
        await agent.put(Put(subject, b"own again", expected=sequence))
    async with (
        controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats,
        controller.subscribe(f"{subjects.ROOT}.answer.*.*") as answers,
        agent.subscribe(subjects.query(C1)) as own,
        agent.subscribe(subjects.query_all("main")) as every,
    ):
        await agent.publish(subjects.heartbeat(C1), b"beat")
        await agent.publish(subjects.answer(C1), b"answer")
        await controller.publish(subjects.query(C1), b"own")
        await controller.publish(subjects.query_all("main"), b"all")
        async with asyncio.timeout(10):
            received = [(await one.__anext__()).data for one in (heartbeats, answers, own, every)]
    assert received == [b"beat", b"answer", b"own", b"all"]


async def test_agents_of_one_account_do_not_hear_each_other(fleet: FleetServer, agent: NatsBus) -> None:
    async with (
        fleet.bus("c2") as other,
        fleet.bus("controller") as controller,
        agent.subscribe(subjects.nudges(C1)) as nudges,
    ):
        await other.put(Put(subjects.state(C2, "facts"), b""))
        await controller.put(Put(subjects.desired(C2), b""))
        own = await controller.put(Put(subjects.desired(C1), b""))
        async with asyncio.timeout(10):
            assert (await nudges.__anext__()).sequence == own


async def test_a_subscriber_reads_events_and_resumes_but_asks_the_controller_nothing(
    fleet: FleetServer, controller: NatsBus
) -> None:
    emitted = subjects.emit("main", "c1", "bundle.applied")
    async with fleet.bus("subscriber") as subscriber:
        async with subscriber.subscribe(subjects.events_matching("bundle.*")) as events:
            sequence = await controller.put(Put(emitted, b"1"))
            async with asyncio.timeout(10):
                assert (await events.__anext__()).sequence == sequence
        last = await controller.put(Put(emitted, b"2"))
        missed = await subscriber.get_many("EVENTS", subjects.ALL_EVENTS, after=sequence)
        assert [message.sequence for message in missed] == [last]
        with pytest.raises(NotPermitted):
            await subscriber.request(subjects.api("list"), b"")


async def test_a_reply_through_an_import_reaches_its_operator_only(
    fleet: FleetServer, controller: NatsBus
) -> None:
    async def answer(endpoint: str, message: object) -> bytes:
        return b"answer"

    serving = asyncio.create_task(
        controller.serve("fleet", "1.0.0", "", {"list": subjects.api("list")}, answer)
    )
    try:
        async with fleet.bus("operator") as operator:

            async def there() -> bool:
                found = await operator.request("$SRV.PING", b"")
                return bool(orjson.loads(found.data)["name"] == "fleet")

            assert await wait_until(there, CLOCK, 10)
            assert (await operator.request(subjects.api("list"), b"")).data == b"answer"
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def test_making_the_streams_again_changes_nothing(controller: NatsBus) -> None:
    await controller.put(Put(subjects.document("bundle", "web"), b"kept"))
    before = await contents(controller)
    await ensure_streams(controller)
    assert await contents(controller) == before


async def test_a_stream_that_differs_is_brought_to_what_the_contract_says(controller: NatsBus) -> None:
    changed = streams.STATUS.configuration() | {"max_msgs_per_subject": 5, "description": "other"}
    await controller.request("$JS.API.STREAM.UPDATE.STATUS", orjson.dumps(changed))
    await ensure_streams(controller)
    told = orjson.loads((await controller.request("$JS.API.STREAM.INFO.STATUS", b"")).data)
    assert told["config"]["max_msgs_per_subject"] == 1
    assert told["config"]["description"] == streams.STATUS.description
