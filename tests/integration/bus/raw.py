"""A peer that writes the NATS protocol by hand, so that it can write what no client library would.

Nothing here waits without an end: a peer that the server leaves without a word fails after `PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fleetbus.schemas.nkeys import key_of_seed
from tests.bus_server import FleetServer

PATIENCE_S = 10.0
_LONGEST_LINE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that the server delivered, as it stood on the wire."""

    subject: bytes
    block: bytes
    data: bytes


@dataclass(slots=True)
class Said:
    """What the server said to some bytes: its lines but for messages and pings, and whether it hung up."""

    lines: list[bytes] = field(default_factory=list)
    closed: bool = False

    def __contains__(self, words: bytes) -> bool:
        return any(words.lower() in line.lower() for line in self.lines)


class RawPublisher:
    """A connection. `say` sends bytes and waits until the server has read them; `heard` is what was delivered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard: list[Heard] = []
        self._reader = reader
        self._writer = writer

    async def say(self, wire: bytes) -> Said:
        """What the server says until its PONG, or until it hangs up."""
        said = Said()
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._writer.write(wire + b"PING\r\n")
                await self._writer.drain()
                while (line := await self._next()) != b"PONG\r\n":
                    said.lines += [line] if line else []
        except (ConnectionError, asyncio.IncompleteReadError):
            said.closed = True
        return said

    async def write(self, wire: bytes) -> list[bytes]:
        """The lines that the server said until its PONG. AssertionError when it hung up instead."""
        said = await self.say(wire)
        assert not said.closed, said.lines
        return said.lines

    async def publish(self, subject: bytes, data: bytes, *, reply: bytes = b"", block: bytes = b"") -> None:
        """As `publication`; AssertionError when the server complains."""
        lines = await self.write(publication(subject, data, reply=reply, block=block))
        assert not [line for line in lines if line.startswith(b"-ERR")], lines

    async def shout(self, wire: bytes) -> None:
        """Send without a look at what comes back."""
        async with asyncio.timeout(PATIENCE_S):
            self._writer.write(wire)
            await self._writer.drain()

    async def wait_heard(self, count: int = 1) -> None:
        """Until so many messages were delivered. TimeoutError, ConnectionError."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard) < count:
                await self._next()

    async def _next(self) -> bytes:
        """The next line, empty for a message, which is in `heard` then, and for a question, which is answered."""
        line = await self._reader.readline()
        verb, *words = line.split() or [b""]
        if not line:
            raise ConnectionResetError("the server has hung up")
        if verb in (b"MSG", b"HMSG"):
            await self._take(verb, words)
            return b""
        if verb == b"PING":
            self._writer.write(b"PONG\r\n")
        return b"" if verb in (b"PING", b"INFO") else line

    async def _take(self, verb: bytes, words: list[bytes]) -> None:
        size = int(words[-1])
        content = (await self._reader.readexactly(size + 2))[:-2]
        split = int(words[-2]) if verb == b"HMSG" else 0
        self.heard.append(Heard(words[0], content[:split], content[split:]))


def publication(subject: bytes, data: bytes, *, reply: bytes = b"", block: bytes = b"") -> bytes:
    """PUB, or HPUB when there is a header block, exactly as given."""
    middle = b" " + reply if reply else b""
    if block:
        sizes = b"%d %d" % (len(block), len(block) + len(data))
        return b"HPUB %b%b %b\r\n%b%b\r\n" % (subject, middle, sizes, block, data)
    return b"PUB %b%b %d\r\n%b\r\n" % (subject, middle, len(data), data)


@asynccontextmanager
async def dialled(fleet: FleetServer) -> AsyncIterator[tuple[RawPublisher, dict[str, Any]]]:
    """A connection on which nobody has logged in yet, and what the server says of itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.server.port, limit=_LONGEST_LINE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            information: dict[str, Any] = json.loads((await reader.readline()).removeprefix(b"INFO "))
            trust = ssl.create_default_context(cadata=fleet.ca_pem)
            await writer.start_tls(trust, server_hostname="127.0.0.1")
        yield RawPublisher(reader, writer), information
    finally:
        writer.transport.abort()


def login(fleet: FleetServer, who: str, nonce: str, more: Mapping[str, Any] | None = None) -> bytes:
    """CONNECT with the credential of `who`. `more`: what a client may claim besides, or in its place."""
    signature = key_of_seed(fleet.seed(who)).sign(nonce.encode()).signature
    told = {
        "verbose": False,
        "pedantic": False,
        "headers": True,
        "no_responders": True,
        "jwt": fleet.credentials[who].token,
        "sig": base64.urlsafe_b64encode(signature).decode().rstrip("="),
        **(more or {}),
    }
    return b"CONNECT " + json.dumps(told).encode() + b"\r\n"


@asynccontextmanager
async def raw_publisher(
    fleet: FleetServer, who: str, login_more: Mapping[str, Any] | None = None
) -> AsyncIterator[RawPublisher]:
    """Logged in with the credential of `who`. AssertionError when the server lets nobody in."""
    async with dialled(fleet) as (publisher, information):
        said = await publisher.say(login(fleet, who, information["nonce"], login_more))
        assert not said.closed, said.lines
        assert b"-ERR" not in said, said.lines
        yield publisher
