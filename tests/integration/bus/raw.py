"""A publisher that writes the NATS protocol by hand, so that it can write what no client library would."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fleetbus.schemas.nkeys import key_of_seed
from tests.bus_server import FleetServer


class RawPublisher:
    """A logged-in connection. `write` sends bytes and waits until the server has read them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, wire: bytes) -> list[bytes]:
        """The lines that the server said until its PONG."""
        self._writer.write(wire + b"PING\r\n")
        await self._writer.drain()
        lines: list[bytes] = []
        async with asyncio.timeout(10):
            while (line := await self._reader.readline()) != b"PONG\r\n":
                assert line, lines
                lines.append(line)
        return lines

    async def publish(self, subject: bytes, data: bytes, *, reply: bytes = b"", block: bytes = b"") -> None:
        """PUB, or HPUB when there is a header block, exactly as given."""
        middle = b" " + reply if reply else b""
        if block:
            sizes = b"%d %d" % (len(block), len(block) + len(data))
            lines = await self.write(b"HPUB %b%b %b\r\n%b%b\r\n" % (subject, middle, sizes, block, data))
        else:
            lines = await self.write(b"PUB %b%b %d\r\n%b\r\n" % (subject, middle, len(data), data))
        assert not [line for line in lines if line.startswith(b"-ERR")], lines


@asynccontextmanager
async def raw_publisher(
    fleet: FleetServer, who: str, login_more: Mapping[str, str] | None = None
) -> AsyncIterator[RawPublisher]:
    """`login_more`: what a client may claim besides when it connects."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.server.port)
    try:
        information = json.loads((await reader.readline()).removeprefix(b"INFO "))
        trust = ssl.create_default_context(cadata=fleet.ca_pem)
        await writer.start_tls(trust, server_hostname="127.0.0.1")
        signature = key_of_seed(fleet.seed(who)).sign(information["nonce"].encode()).signature
        login = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "jwt": fleet.credentials[who].token,
            "sig": base64.urlsafe_b64encode(signature).decode().rstrip("="),
            **(login_more or {}),
        }
        publisher = RawPublisher(reader, writer)
        lines = await publisher.write(b"CONNECT " + json.dumps(login).encode() + b"\r\n")
        assert not [line for line in lines if line.startswith(b"-ERR")], lines
        yield publisher
    finally:
        writer.transport.abort()
