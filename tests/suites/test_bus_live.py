"""The contract of the port `Bus` for what is live, against a real server and the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import orjson
import pytest

from fleetbus.runtime.nats_connections import list_connections
from fleetbus.runtime.ports import Bus, Message, Put
from fleetbus.schemas import presence_subjects, subjects
from fleetbus.schemas.connections import Page, parse_connect, parse_disconnect
from fleetbus.schemas.errors import BusUnavailable, NotFound, NotPermitted
from fleetbus.schemas.errors import SequenceConflict as Conflict
from fleetbus.schemas.nats_jwt import read
from tests.suites.bus_pairs import C1, C2, CLOCK, Buses, next_of, soon
from tests.waiting import wait_until

# Subscribing


async def test_an_agent_is_nudged_for_both_mailboxes_and_nothing_else(buses: Buses) -> None:
    bus = buses.controller
    async with buses.agent.subscribe(subjects.nudges(C1)) as nudges:
        await bus.put(Put(subjects.TERM, b"t"))
        await bus.put(Put(subjects.LEASE, b"l"))
        await bus.put(Put(subjects.desired(C2), b"of another"))
        desired = await bus.put(Put(subjects.desired(C1), b"content"))
        command = await bus.put(Put(subjects.command(C1), b"content"))
        received = [await next_of(nudges), await next_of(nudges)]
    assert [(nudge.subject, nudge.sequence, nudge.data) for nudge in received] == [
        (subjects.nudge(C1, "desired"), desired, b""),
        (subjects.nudge(C1, "command"), command, b""),
    ]


async def test_a_refused_write_nudges_nobody(buses: Buses) -> None:
    bus = buses.controller
    async with buses.agent.subscribe(subjects.nudges(C1)) as nudges:
        with pytest.raises(Conflict):
            await bus.put(Put(subjects.desired(C1), b"", expected=10**9))
        sequence = await bus.put(Put(subjects.desired(C1), b""))
        assert (await next_of(nudges)).sequence == sequence


async def test_a_subscriber_sees_each_event_once_with_its_sequence(buses: Buses) -> None:
    bus = buses.controller
    async with buses.operator.subscribe(subjects.ALL_EVENTS) as events:
        emitted = subjects.emit("main", "c1", "bundle.applied")
        sequences = [await bus.put(Put(emitted, b"%d" % number)) for number in range(5)]
        seen = [await next_of(events) for _ in range(5)]
        await bus.put(Put(subjects.emit("main", subjects.FLEET, "end.reached"), b"end"))
        last = await next_of(events)
    assert [(event.sequence, event.data) for event in seen] == [
        (sequence, b"%d" % number) for number, sequence in enumerate(sequences)
    ]
    assert {event.subject for event in seen} == {subjects.event("main", "c1", "bundle.applied")}
    assert last.data == b"end"


async def test_a_sequence_that_a_peer_claims_is_not_believed(buses: Buses) -> None:
    forged = {"Nats-Stream": "STATE", "Nats-Sequence": "999999", "Nats-Subject": "elsewhere"}
    async with buses.controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats:
        await buses.agent.publish(subjects.heartbeat(C1), b"", headers=forged)
        assert (await next_of(heartbeats)).sequence == 0
    sequence = await buses.agent.put(Put(subjects.state(C1, "facts"), b"", headers=forged))
    message = await buses.controller.get_last("STATE", subjects.state(C1, "facts"))
    assert message is not None
    assert (message.subject, message.sequence) == (subjects.state(C1, "facts"), sequence)


async def test_a_subscription_survives_a_reconnect(buses: Buses) -> None:
    agent = buses.agent
    async with agent.subscribe(subjects.nudges(C1)) as nudges:
        before = agent.connection
        await agent.reconnect()
        assert await soon(agent.connection_changed(before)) > before
        assert agent.connected
        sequence = await buses.controller.put(Put(subjects.desired(C1), b""))
        assert (await next_of(nudges)).sequence == sequence


async def test_a_full_subscription_drops_the_oldest(buses: Buses) -> None:
    async with (
        buses.controller.subscribe(subjects.ALL_HEARTBEATS, capacity=3) as few,
        buses.controller.subscribe(subjects.ALL_HEARTBEATS) as every,
    ):
        for number in range(6):
            await buses.agent.publish(subjects.heartbeat(C1), b"%d" % number)
        for _ in range(6):
            await next_of(every)
        assert [(await next_of(few)).data for _ in range(3)] == [b"3", b"4", b"5"]


async def test_a_queue_gives_each_message_to_one_member(buses: Buses) -> None:
    async with (
        buses.controller.subscribe(subjects.ALL_HEARTBEATS, queue="q") as one,
        buses.controller.subscribe(subjects.ALL_HEARTBEATS, queue="q") as two,
        buses.controller.subscribe(subjects.ALL_HEARTBEATS) as every,
    ):
        for number in range(20):
            await buses.agent.publish(subjects.heartbeat(C1), b"%d" % number)
        for _ in range(20):
            await next_of(every)
    members = [message.data for member in (one, two) async for message in member]
    assert sorted(members, key=int) == [b"%d" % number for number in range(20)]


async def test_an_iteration_ends_with_its_context(buses: Buses) -> None:
    async with buses.controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats:
        pass
    with pytest.raises(StopAsyncIteration):
        await next_of(heartbeats)


# Requests and services


async def echo(endpoint: str, message: Message) -> bytes:
    if message.data == b"fail":
        raise NotFound("no bundle `web`", remedy="look at `fleetbus get bundles`")
    if message.data == b"crash":
        raise ZeroDivisionError
    if message.data == b"flood":
        return b"x" * (2 * 1024 * 1024)
    return orjson.dumps([endpoint, message.data.decode(), message.headers.get("Nats-Request-Info", "")])


@pytest.fixture
async def service(buses: Buses) -> AsyncIterator[Bus]:
    endpoints = {verb: subjects.api(verb) for verb in ("list", "apply")}
    serving = asyncio.create_task(buses.controller.serve("fleet", "1.2.3", "the fleet", endpoints, echo))
    assert await wait_until(lambda: _answers(buses.operator), CLOCK, 10)
    yield buses.operator
    serving.cancel()
    await asyncio.wait([serving])


async def _answers(bus: Bus) -> bool:
    try:
        await bus.request(subjects.api("apply"), b"")
    except BusUnavailable:
        return False
    return True


async def test_a_request_is_answered_by_the_endpoint_and_names_who_asked(service: Bus, buses: Buses) -> None:
    endpoint, data, information = orjson.loads((await service.request(subjects.api("list"), b"hello")).data)
    assert (endpoint, data) == ("list", "hello")
    assert orjson.loads(information)["acc"] == buses.operators_account


async def test_a_failed_answer_says_why_and_the_service_goes_on(service: Bus) -> None:
    failed = await service.request(subjects.api("list"), b"fail")
    assert failed.headers["Nats-Service-Error-Code"] == NotFound.code
    assert "no bundle `web`" in failed.headers["Nats-Service-Error"]
    for bad in (b"crash", b"flood"):
        answer = await service.request(subjects.api("list"), bad)
        assert answer.headers["Nats-Service-Error-Code"]
        assert answer.data == b""
    assert (await service.request(subjects.api("list"), b"again")).data


async def test_a_service_is_found_and_described(service: Bus) -> None:
    ping = orjson.loads((await service.request("$SRV.PING", b"")).data)
    assert (ping["type"], ping["name"], ping["version"]) == (
        "io.nats.micro.v1.ping_response",
        "fleet",
        "1.2.3",
    )
    described = orjson.loads((await service.request("$SRV.INFO.fleet", b"")).data)
    assert [endpoint["subject"] for endpoint in described["endpoints"]] == [
        subjects.api("list"),
        subjects.api("apply"),
    ]
    stats = orjson.loads((await service.request(f"$SRV.STATS.fleet.{ping['id']}", b"")).data)
    assert stats["endpoints"][1]["num_requests"] >= 1


async def test_a_service_survives_a_reconnect(service: Bus, buses: Buses) -> None:
    before = buses.controller.connection
    await buses.controller.reconnect()
    await soon(buses.controller.connection_changed(before))
    assert await wait_until(lambda: _answers(service), CLOCK, 10)


async def test_a_slow_answer_does_not_hold_up_the_others(buses: Buses) -> None:
    free = asyncio.Event()

    async def answer(endpoint: str, message: Message) -> bytes:
        if message.data == b"slow":
            await free.wait()
        return message.data

    serving = asyncio.create_task(
        buses.controller.serve("fleet", "1.2.3", "", {"list": subjects.api("list")}, answer)
    )
    try:
        assert await wait_until(lambda: _reaches(buses.operator), CLOCK, 10)
        slow = asyncio.create_task(buses.operator.request(subjects.api("list"), b"slow"))
        assert (await buses.operator.request(subjects.api("list"), b"fast")).data == b"fast"
        free.set()
        assert (await slow).data == b"slow"
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def _reaches(bus: Bus) -> bool:
    try:
        return (await bus.request(subjects.api("list"), b"there")).data == b"there"
    except BusUnavailable:
        return False


async def test_a_request_that_nobody_hears_is_unavailable_at_once(buses: Buses) -> None:
    began = CLOCK.monotonic_s()
    with pytest.raises(BusUnavailable):
        await buses.operator.request(subjects.api("list"), b"", timeout_s=30)
    assert CLOCK.monotonic_s() - began < 10


async def test_a_request_that_nobody_answers_is_unavailable_when_its_time_is_up(buses: Buses) -> None:
    async with buses.controller.subscribe(subjects.ALL_API) as requests:
        with pytest.raises(BusUnavailable):
            await buses.operator.request(subjects.api("list"), b"", timeout_s=0.2)
        assert (await next_of(requests)).data == b""


# Who may what


async def test_an_agent_reaches_its_own_row_only(buses: Buses) -> None:
    agent = buses.agent
    await buses.controller.put(Put(subjects.desired(C1), b"own"))
    own = await agent.get_last("DESIRED", subjects.desired(C1))
    assert own is not None
    assert own.data == b"own"
    refused: list[Awaitable[object]] = [
        agent.get_last("DESIRED", subjects.desired(C2)),
        agent.put(Put(subjects.state(C2, "facts"), b"")),
        agent.put(Put(subjects.desired(C1), b"")),
        agent.get_many("DESIRED", subjects.ALL_DESIRED),
        agent.purge("STATE", subjects.states_of(C1)),
    ]
    for call in refused:
        with pytest.raises(NotPermitted):
            await call
    with pytest.raises(NotPermitted):
        async with agent.subscribe(subjects.query(C2)):
            pass


async def test_the_server_says_which_credential_a_heartbeat_came_with(buses: Buses) -> None:
    async with buses.controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats:
        forged = {"Nats-Request-Info": '{"user":"another"}'}
        await buses.agent.publish(subjects.heartbeat(C1), b"", headers=forged)
        said = (await next_of(heartbeats)).headers["Nats-Request-Info"]
    assert read(orjson.loads(said)["jwt"]).subject == buses.agent_key


# Who is connected


async def test_the_server_tells_who_comes_and_who_leaves(buses: Buses) -> None:
    async with buses.controller.subscribe(presence_subjects.ALL_PRESENCE) as advisories:
        before = buses.agent.connection
        await buses.agent.reconnect()
        await soon(buses.agent.connection_changed(before))
        first, second = await next_of(advisories), await next_of(advisories)
    ended = next(parse_disconnect(one.data) for one in (first, second) if one.subject.endswith(".disconnect"))
    made = next(parse_connect(one.data) for one in (first, second) if one.subject.endswith(".connect"))
    assert {presence_subjects.parse_presence(one.subject) for one in (first, second)} == {
        ("main", "connect"),
        ("main", "disconnect"),
    }
    assert ended.connection.nkey == made.nkey == buses.agent_key
    assert ended.connection.place != made.place
    assert ended.reason == "Client Closed"


async def test_the_server_lists_who_is_connected_and_only_those_of_the_realm(buses: Buses) -> None:
    def keys(pages: list[Page]) -> list[str]:
        return [one.nkey for page in pages for one in page.connections]

    question, inbox = presence_subjects.realm_connections("main"), subjects.CONTROLLER_INBOX
    pages = await list_connections(buses.controller, CLOCK, question, inbox, {})
    assert keys(pages) == [buses.agent_key]
    assert (
        await list_connections(
            buses.controller, CLOCK, presence_subjects.realm_connections("none"), inbox, {}
        )
        == []
    )


async def test_nobody_but_the_controller_is_told_who_is_connected(buses: Buses) -> None:
    for bus in (buses.agent, buses.operator):
        with pytest.raises((NotPermitted, BusUnavailable)):
            async with bus.subscribe(presence_subjects.ALL_PRESENCE):
                pass
        with pytest.raises((NotPermitted, BusUnavailable)):
            await bus.request(presence_subjects.realm_connections("main"), b"{}", timeout_s=0.5)
