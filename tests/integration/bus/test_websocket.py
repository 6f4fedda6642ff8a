"""The bus through a WebSocket is the same bus: everything arrives, survives a restart, and takes new certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.online import reload_servers
from fleetbus.cli.ceremony.record import read_record
from fleetbus.local.ports import free_port
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import make_authority
from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.ports import Put
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.websocket import accepted
from fleetbus.schemas import subjects
from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.bus.raw import raw_publisher

C1 = ClusterId("main", "c1")


def by_websocket(fleet: FleetServer, who: str, path: str = "") -> BusSettings:
    server = next(one for one in read_record(fleet.folder).bus_servers if one.startswith("wss://"))
    return replace(fleet.settings(who), servers=(server + path,))


@asynccontextmanager
async def bus(fleet: FleetServer, who: str, path: str = "") -> AsyncIterator[NatsBus]:
    async with NatsBus(by_websocket(fleet, who, path), CLOCK) as connected:
        await asyncio.wait_for(connected.wait_connected(), 10)
        yield connected


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 1_000_000])
async def test_messages_of_every_size_arrive_both_ways(served: FleetServer, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with (
        bus(served, "controller") as controller,
        bus(served, "c1", "/any/path") as agent,
        agent.subscribe(subjects.query(C1)) as queries,
        controller.subscribe(subjects.answer(C1)) as answers,
    ):
        await controller.publish(subjects.query(C1), data)
        asked = await asyncio.wait_for(anext(aiter(queries)), 10)
        await agent.publish(subjects.answer(C1), asked.data)
        assert (await asyncio.wait_for(anext(aiter(answers)), 10)).data == data


async def test_streams_are_written_and_read_by_the_thousand(served: FleetServer) -> None:
    async with bus(served, "controller") as controller:
        for number in range(300):
            await controller.put(Put(subjects.desired(ClusterId("main", f"w{number}")), b"head"))
        found = await controller.get_many("DESIRED", "fleet.v1.desired.main.*", limit=1000)
        assert len([one for one in found if one.data == b"head"]) >= 300


async def test_hostile_messages_arrive_escaped_and_what_follows_too(served: FleetServer) -> None:
    async with (
        bus(served, "controller") as controller,
        controller.subscribe(subjects.ALL_HEARTBEATS) as beats,
        raw_publisher(served, "controller") as peer,
    ):
        subject = subjects.heartbeat(C1).encode()
        await peer.publish(subject + b"\x0b7\xff", b"\x82\x7f", reply=b"r\x0b1\xff", block=b"NATS/1.0")
        await peer.publish(subject, b"after it")
        hostile, good = [await asyncio.wait_for(anext(aiter(beats)), 10) for _ in range(2)]
        assert (hostile.reply, hostile.data) == ("r\\x0b1\\xff", b"\x82\x7f")
        assert (good.subject, good.data) == (subject.decode(), b"after it")
        assert controller.connection == 1


async def test_certificates_are_renewed_and_no_websocket_ends(served: FleetServer) -> None:
    settings = by_websocket(served, "controller")
    (address,) = settings.addresses()
    async with bus(served, "controller") as controller:
        before = controller._here().connection._client_id
        was = await certificate_ends_at(address, settings.trust)
        later = CLOCK.now() + timedelta(minutes=4)
        await make_fleet(served.folder, FleetPlan("test"), served.keys, later, renew_certificates=True)
        await reload_servers(served.folder, CLOCK)
        assert await certificate_ends_at(address, settings.trust) > was
        await controller.publish(subjects.query(C1), b"")
        await controller._here().connection.barrier()
        assert (controller._here().connection._client_id, controller.connection) == (before, 1)


async def test_it_comes_back_after_the_server_was_killed(served: FleetServer) -> None:
    async with (
        bus(served, "controller") as controller,
        bus(served, "c1") as agent,
        agent.subscribe(subjects.query(C1)) as queries,
    ):
        await served.server.kill()
        await served.server.start()
        for one in (controller, agent):
            await asyncio.wait_for(one.connection_changed(1), 20)
        await controller.publish(subjects.query(C1), b"again")
        assert (await asyncio.wait_for(anext(aiter(queries)), 10)).data == b"again"


async def test_where_4222_is_closed_the_websocket_is_found(served: FleetServer) -> None:
    """As `fleetbus init` orders the addresses."""
    servers = read_record(served.folder).bus_servers
    assert [one.partition(":")[0] for one in servers] == ["tls", "wss"]
    closed = f"tls://127.0.0.1:{free_port()}"
    async with NatsBus(
        replace(served.settings("controller"), servers=(closed, servers[1])), CLOCK
    ) as controller:
        await asyncio.wait_for(controller.wait_connected(), 10)


async def refusal(fleet: FleetServer, server: str, trust: Trust | None = None) -> BusUnavailable:
    credential = fleet.credentials["c1"]
    opened = Connection()
    with pytest.raises(BusUnavailable) as refused:
        await opened.open(
            parse_address(server),
            token=credential.token,
            key=key_of_seed(credential.seed),
            trust=await asyncio.to_thread((trust or Trust(ca_pem=fleet.ca_pem)).context),
            name="c1",
        )
    return refused.value


async def test_another_authority_and_another_protocol_are_told_apart(served: FleetServer) -> None:
    (server,) = by_websocket(served, "c1").servers
    stranger = Trust(ca_pem=make_authority("test bus", CLOCK.now()).certificate.decode())
    assert (await refusal(served, server, stranger)).error_code == "FB3007"
    plain = served.server.url.replace("tls://", "wss://")
    assert "speaks no TLS" in (await refusal(served, plain)).message


@asynccontextmanager
async def impostor(fleet: FleetServer, frames: bytes) -> AsyncIterator[str]:
    """One who has the server's certificate, opens a WebSocket as it should be, and sends these frames."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accepted(key)}\r\n\r\n".encode()
            + frames
        )
        await reader.read()
        writer.close()

    place = fleet.folder / "nats"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(context.load_cert_chain, place / "server.crt", place / "server.key")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (b"\x81\x05INFO ", "out of order, or of text"),
        (b"\x82\x85abcdINFO ", "no server may send"),
        (b"\xc2\x05INFO ", "no server may send"),
        (b"\x82\x7f" + b"\xff" * 8, "longer than one may be"),
        (b"\x88\x00", "empty response"),
        (b"\x82\x05HELLO\x82\x01\n", "empty response"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_left_with_a_reason(
    served: FleetServer, frames: bytes, said: str
) -> None:
    async with impostor(served, frames) as server:
        assert said in (await refusal(served, server)).message
