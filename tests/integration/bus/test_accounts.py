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
from tests.bus_server import OPERATORS_BY_ROLE, FleetServer
from tests.integration.bus.raw import RawPublisher, raw_publisher
from tests.waiting import wait_until

C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")
DIGEST, MISSING = "a" * 64, "b" * 64
CLOCK = SystemClock()

API_FORMS = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.STATE",
    "$JS.API.STREAM.CREATE.EVIL",
    "$JS.API.STREAM.UPDATE.STATE",
    "$JS.API.STREAM.DELETE.DOCUMENTS",
    "$JS.API.STREAM.PURGE.STATE",
    "$JS.API.STREAM.MSG.GET.DESIRED",
    "$JS.API.STREAM.MSG.DELETE.STATE",
    "$JS.API.STREAM.SNAPSHOT.DESIRED",
    "$JS.API.CONSUMER.CREATE.DESIRED",
    "$JS.API.CONSUMER.CREATE.DESIRED.evil",
    "$JS.API.CONSUMER.DURABLE.CREATE.DESIRED.evil",
    "$JS.API.CONSUMER.MSG.NEXT.DESIRED.evil",
    "$JS.API.CONSUMER.LIST.DESIRED",
    "$JS.API.DIRECT.GET.STATE",
    "$JS.API.DIRECT.GET.DESIRED",
    "$JS.API.DIRECT.GET.DOCUMENTS.fleet.v1.document.bundle.web",
    "$JS.API.DIRECT.GET.EVENTS.fleet.v1.event.main.c2.>",
    "$JS.API.DIRECT.GET.EVENTS.fleet.v1.event.>",
    "$JS.API.DIRECT.GET.DESIRED.fleet.v1.desired.main.*",
    "$JS.ACK.DESIRED.c.1.1.1.1.1",
    "$JS.FC.DESIRED.c.x",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.USER.INFO.x",
]

FOREIGN = [
    subjects.desired(C1),
    subjects.command(C1),
    subjects.TERM,
    subjects.LEASE,
    subjects.artifact(DIGEST),
    subjects.nudge(C1, "desired"),
    subjects.nudge(C2, "desired"),
    subjects.emit("main", "c1", "bundle.applied"),
    subjects.event("main", "c1", "bundle.applied"),
    subjects.document("bundle", "web"),
    subjects.status("bundle", "web"),
    subjects.audit(1),
    subjects.query(C1),
    subjects.query_all("main"),
    *(subjects.state(C2, aspect) for aspect in streams.ASPECTS),
    subjects.state(C1, "unknown"),
    subjects.result(C2),
    subjects.heartbeat(C2),
    subjects.answer(C2),
    subjects.inbox("main", "c2") + ".x",
    subjects.CONTROLLER_INBOX + ".x",
]

VICTIMS = [
    *(f"$JS.API.STREAM.{verb}.{name}" for verb in ("DELETE", "PURGE") for name in ("DOCUMENTS", "STATE")),
    "$JS.API.STREAM.CREATE.EVIL",
    subjects.state(C2, "session"),
    subjects.state(C2, "facts"),
    subjects.result(C2),
    subjects.desired(C2),
    subjects.command(C2),
    subjects.TERM,
    subjects.LEASE,
    subjects.document("bundle", "web"),
    subjects.emit("main", "c2", "bundle.applied"),
    subjects.artifact(MISSING),
]


async def contents(bus: NatsBus) -> dict[str, list[tuple[str, bytes, int]]]:
    """Everything in every stream."""
    return {
        stream.name: [
            (message.subject, message.data, message.sequence)
            for message in await bus.get_many(stream.name, ">", limit=10_000)
        ]
        for stream in streams.STREAMS
    }


async def refusals(peer: RawPublisher, subject: str) -> list[bytes]:
    return await peer.write(b"PUB %b 0\r\n\r\n" % subject.encode())


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


@pytest.mark.parametrize("subject", [*API_FORMS, *FOREIGN])
async def test_an_agent_cannot_publish_anywhere_else(fleet: FleetServer, subject: str) -> None:
    async with raw_publisher(fleet, "c1") as peer:
        lines = await refusals(peer, subject)
    assert b"Permissions Violation for Publish" in b"".join(lines)


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "*.>",
        "_R_.>",
        "_INBOX.>",
        "_INBOX_main_c2.>",
        "$JS.>",
        "$SYS.>",
        subjects.ALL_STATES,
        subjects.ALL_HEARTBEATS,
        subjects.ALL_EVENTS,
        subjects.ALL_QUERIES,
        subjects.nudges(C2),
        subjects.ALL_NUDGES,
        subjects.query(C2),
        subjects.desired(C1),
    ],
)
async def test_an_agent_cannot_listen_anywhere_else(agent: NatsBus, subject: str) -> None:
    with pytest.raises(NotPermitted):
        async with agent.subscribe(subject):
            pass


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_reply_subject_makes_the_server_do_nothing(
    fleet: FleetServer, controller: NatsBus, victim: str
) -> None:
    await controller.put(Put(subjects.document("bundle", "kept"), b"document"))
    await controller.put(Put(subjects.state(C2, "facts"), b"facts of another"))
    await controller.put(Put(subjects.desired(C1), b"head"))
    async with raw_publisher(fleet, "c1") as peer:
        await peer.publish(subjects.state(C1, "facts").encode(), b"own")
        before = await contents(controller)
        reply = victim.encode()
        get = subjects.direct_get
        for question in (
            get("ARTIFACTS", subjects.artifact(MISSING)),
            get("DESIRED", subjects.command(C1)),
            get("DESIRED", subjects.desired(C1)),
            get("EVENTS", subjects.events_of("main", "c1")),
        ):
            await peer.publish(question.encode(), b"", reply=reply)
        await peer.publish(subjects.heartbeat(C1).encode(), b"", reply=reply)
        await peer.publish(subjects.result(C1).encode(), b"acknowledge there", reply=reply)
    # The acknowledgement that went astray is older than this write's own.
    last = await controller.put(Put(subjects.state(C1, "session"), b"last"))
    after = await contents(controller)
    before["STATE"] += [
        (subjects.result(C1), b"acknowledge there", last - 1),
        (subjects.state(C1, "session"), b"last", last),
    ]
    assert after == before


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


@pytest.mark.parametrize("who", ["operator", "subscriber", *OPERATORS_BY_ROLE.values()])
@pytest.mark.parametrize(
    "subject",
    [*API_FORMS, subjects.state(C1, "facts"), *FOREIGN[:13]],
)
async def test_operators_and_subscribers_cannot_touch_streams(
    fleet: FleetServer, who: str, subject: str
) -> None:
    async with raw_publisher(fleet, who) as peer:
        lines = await refusals(peer, subject)
    assert b"Permissions Violation for Publish" in b"".join(lines)


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
