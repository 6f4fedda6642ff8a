"""How bytes reach a server of the bus: a socket, and TLS on it. Every step has a time limit of its own.

Reading pauses the socket when the reader is behind; nats-py's own TLS transport buffers without a limit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from fleetbus.runtime.nats_lean import Transport
from fleetbus.schemas.bus_address import BusAddress

READ_BYTES = 128 * 1024


class Dialled(Transport):
    """A connection to one address, as nats-py's client wants it. Made with `dial`."""

    def __init__(
        self, address: BusAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._reader = reader
        self._writer = writer
        # Kept until the end: the plain one under TLS would else be collected, and close the socket.
        self._under: list[asyncio.StreamWriter] = []

    @classmethod
    async def dial(cls, address: BusAddress, timeout_s: float) -> Dialled:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=READ_BYTES)
        return cls(address, reader, writer)

    async def start_tls(self, trust: ssl.SSLContext, timeout_s: float) -> None:
        """From here on encrypted, to who has a certificate for the address's host. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(timeout_s):
            transport = await loop.start_tls(
                self._writer.transport, protocol, trust, server_hostname=self.address.host
            )
        assert transport is not None
        protocol.connection_made(transport)
        self._under.append(self._writer)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    @property
    def certificate(self) -> dict[str, Any]:
        """What the server has shown, as the standard library reads it; empty without TLS."""
        return self._writer.get_extra_info("peercert") or {}

    @property
    def encrypted(self) -> bool:
        return self._writer.get_extra_info("ssl_object") is not None

    def abort(self) -> None:
        """Drop the socket at once."""
        for writer in (self._writer, *self._under):
            writer.transport.abort()

    # What nats-py calls.

    async def connect(self, uri: Any, buffer_size: int, connect_timeout: int) -> None:
        """Nothing: it is connected when it is made."""

    async def connect_tls(
        self, uri: Any, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        await self.start_tls(ssl_context, connect_timeout)

    async def read(self, buffer_size: int) -> bytes:
        return await self._reader.read(buffer_size)

    async def readline(self) -> bytes:
        return await self._reader.readline()

    def write(self, payload: bytes) -> None:
        self._writer.write(payload)

    def writelines(self, payload: Sequence[bytes]) -> None:
        self._writer.writelines(payload)

    async def drain(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    def __bool__(self) -> bool:
        return True
