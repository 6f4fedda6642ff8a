"""A connection is made only to a server of our authority, over TLS, and its end is always noticed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.runtime import nats_client
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.certificates import make_authority
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_wire import Delivery
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, SettingsInvalid
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.tokens import user_credential
from tests.waiting import wait_until

CLOCK = SystemClock()
C1 = ClusterId("main", "c1")


@asynccontextmanager
async def listener(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server on loopback that does what `serve` does with each connection."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_server_of_another_authority_is_not_talked_to(fleet: FleetServer) -> None:
    other = make_authority("another", CLOCK.now()).certificate.decode()
    settings = replace(fleet.settings("controller"), trust=Trust(ca_pem=other))
    async with NatsBus(settings, CLOCK) as bus:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bus.wait_connected(), 1)
        assert bus.connection == 0


async def test_an_unknown_key_gets_no_connection(fleet: FleetServer) -> None:
    stranger = user_credential(SigningKey.generate(), "controller")
    settings = replace(fleet.settings("controller"), credential=stranger)
    async with NatsBus(settings, CLOCK) as bus:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bus.wait_connected(), 1)
        with pytest.raises(BusUnavailable):
            await bus.publish(subjects.heartbeat(C1), b"")


async def test_a_server_that_offers_no_tls_is_told_nothing(fleet: FleetServer) -> None:
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = {"server_id": "x", "version": "2.15.0", "headers": True, "nonce": "abc", "max_payload": 99}
        writer.write(b"INFO " + json.dumps(greeting | {"auth_required": True}).encode() + b"\r\n")
        heard.append(await reader.read(4096))
        writer.close()

    async with (
        listener(greet) as url,
        NatsBus(replace(fleet.settings("controller"), servers=(url,)), CLOCK) as bus,
    ):
        assert await wait_until(lambda: _true(len(heard) >= 2), CLOCK, 10)
        assert not bus.connected
    assert set(heard) == {b""}


@pytest.mark.parametrize(
    ("nonce", "signs"),
    [
        ("PXoWU7zWAMt75FY", True),
        ('fleetbus1\nfleet.v1.api.apply\n{"verb":"apply"}', False),
        ("eyJ0eXAiOiJKV1QifQ.eyJpc3MiOiJVIn0", False),
    ],
)
async def test_logging_in_signs_a_nonce_and_nothing_that_could_be_a_message(
    fleet: FleetServer, nonce: str, signs: bool
) -> None:
    """The same key signs what an agent reports and an operator asks: its server must not choose the bytes."""
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = {"server_id": "x", "version": "2.15.0", "headers": True, "nonce": nonce, "max_payload": 99}
        writer.write(b"INFO " + json.dumps(greeting | {"auth_required": True}).encode() + b"\r\n")
        heard.append(await reader.read(4096))
        writer.close()

    async with listener(greet) as url:
        settings = replace(fleet.settings("controller"), servers=(_plain(url),), insecure=True)
        async with NatsBus(settings, CLOCK):
            assert await wait_until(lambda: _true(len(heard) >= 2), CLOCK, 10)
    assert {b'"sig"' in one for one in heard} == {signs}


def _plain(url: str) -> str:
    return "nats://" + url.partition("://")[2]


async def test_a_server_that_says_nothing_is_given_up_and_the_next_one_taken(
    fleet: FleetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "CONNECT_TIMEOUT_S", 0.2)
    open_: list[asyncio.StreamWriter] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append(writer)

    async with listener(say_nothing) as url:
        settings = fleet.settings("controller")
        async with NatsBus(replace(settings, servers=(url, *settings.servers)), CLOCK) as bus:
            await asyncio.wait_for(bus.wait_connected(), 10)
    assert len(open_) == 1
    open_[0].close()


async def test_a_connection_that_goes_silent_is_noticed_and_made_again(
    own_fleet: FleetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "PING_INTERVAL_S", 0.1)
    async with own_fleet.bus("controller") as bus:
        own_fleet.server.process.send(signal.SIGSTOP)
        try:
            assert await wait_until(lambda: _true(not bus.connected), CLOCK, 10)
            with pytest.raises(BusUnavailable):
                await bus.publish(subjects.query(C1), b"")
        finally:
            own_fleet.server.process.send(signal.SIGCONT)
        await asyncio.wait_for(bus.wait_connected(), 30)


async def test_a_publisher_that_the_server_does_not_read_is_stopped_and_can_be_cancelled(
    own_fleet: FleetServer,
) -> None:
    async with own_fleet.bus("controller") as bus:

        async def flood() -> None:
            while True:
                await bus.publish(subjects.query(C1), b"x" * 100_000)

        own_fleet.server.process.send(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 1)
        finally:
            own_fleet.server.process.send(signal.SIGCONT)
        await asyncio.wait_for(bus.wait_connected(), 30)


async def test_a_request_under_way_fails_when_the_connection_ends(
    fleet: FleetServer, controller: NatsBus
) -> None:
    async with controller.subscribe(subjects.ALL_API) as requests, fleet.bus("operator") as operator:
        asking = asyncio.create_task(operator.request(subjects.api("list"), b"", timeout_s=60))
        await asyncio.wait_for(requests.__anext__(), 10)
        await operator.reconnect()
        with pytest.raises(BusUnavailable):
            await asyncio.wait_for(asking, 10)


async def test_a_pong_that_nobody_waits_for_any_more_does_not_end_the_connection(
    controller: NatsBus,
) -> None:
    link = controller._here()
    for _ in range(20):
        waiting = asyncio.create_task(link.connection.barrier())
        await asyncio.sleep(0)
        waiting.cancel()
    await link.connection.barrier()
    assert controller.connection == 1


async def test_a_barrier_comes_after_everything_written_before(controller: NatsBus) -> None:
    link = controller._here()
    for round_ in range(50):
        got: list[Delivery] = []
        subject = f"{subjects.query(C1)}{round_}"
        route = link.connection.open_route(subject, got.append)
        await link.connection.send(subject, b"x")
        await link.connection.barrier()
        assert [delivery.data for delivery in got] == [b"x"]
        link.connection.close_route(route)


async def test_after_leaving_nothing_runs_and_calls_are_unavailable(fleet: FleetServer) -> None:
    before = len(asyncio.all_tasks())
    async with fleet.bus("controller") as bus:
        pass
    assert len(asyncio.all_tasks()) == before
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await bus.wait_connected()
    with pytest.raises(BusUnavailable):
        await bus.publish(subjects.query(C1), b"")


async def test_a_subject_with_a_line_end_is_refused_and_harms_no_connection(controller: NatsBus) -> None:
    bad = "fleet.v1.x\r\nPUB fleet.v1.y 0\r\n"
    with pytest.raises(MessageMalformed):
        await controller.publish(bad, b"")
    with pytest.raises(MessageMalformed):
        async with controller.subscribe(bad):
            pass
    with pytest.raises(MessageMalformed):
        await controller.publish(subjects.query(C1), b"", headers={"A": "1\r\nB: 2"})
    await controller.publish(subjects.query(C1), b"")
    assert controller.connection == 1


@pytest.mark.parametrize("change", [{"servers": ()}, {"trust": Trust(ca_pem="nonsense")}])
async def test_a_setting_that_cannot_work_is_refused_at_once(
    fleet: FleetServer, change: dict[str, Any]
) -> None:
    settings = replace(fleet.settings("controller"), **change)
    with pytest.raises(SettingsInvalid) as caught:
        async with NatsBus(settings, CLOCK):
            pass
    assert "nonsense" not in caught.value.sentence()


def test_the_seed_is_in_no_representation_of_the_settings(fleet: FleetServer) -> None:
    assert fleet.seed("controller") not in repr(fleet.settings("controller"))


async def _true(value: bool) -> bool:
    return value
