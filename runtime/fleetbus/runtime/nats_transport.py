"""How bytes reach a server of the bus: a socket, perhaps a proxy's tunnel, TLS, perhaps a WebSocket in it.

Every step has a time limit of its own. Reading pauses the socket when the reader is behind; nats-py's own transports
buffer without a limit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from fleetbus.runtime.http_tunnel import open_tunnel
from fleetbus.runtime.nats_lean import Transport
from fleetbus.runtime.websocket import WebSocket, upgrade
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.bus_proxy import BusProxy
from fleetbus.schemas.errors import BusUnavailable

READ_BYTES = 128 * 1024
_NEXT_ADDRESS_S = 0.25
"""After so long the next address of a name is tried beside the one that has not answered (RFC 8305)."""


class Dialled(Transport):
    """A connection to one address, as nats-py's client wants it. Made with `dial`."""

    def __init__(
        self, address: BusAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._reader = reader
        self._writer = writer
        self._frames: WebSocket | None = None
        # Of the connection to the server: that to a proxy may be encrypted besides.
        self.encrypted = False
        # Kept until the end: the plain one under TLS would else be collected, and close the socket.
        self._under: list[asyncio.StreamWriter] = []

    @classmethod
    async def dial(
        cls, address: BusAddress, trust: ssl.SSLContext, proxy: BusProxy | None, timeout_s: float
    ) -> Dialled:
        """As far as the server's greeting, which for `tls` comes before TLS. `timeout_s` is a step's.

        Raises OSError, TimeoutError, BusUnavailable (from a proxy); then nothing is left open.
        """
        dialled = await cls.reach(address, proxy, timeout_s)
        if address.scheme == "wss":
            try:
                await dialled.start_tls(trust, timeout_s)
                async with asyncio.timeout(timeout_s):
                    dialled._frames = await upgrade(dialled._reader, dialled._writer, address)
            except BaseException:
                dialled.abort()
                raise
        return dialled

    @classmethod
    async def reach(cls, address: BusAddress, proxy: BusProxy | None, timeout_s: float) -> Dialled:
        """The bare connection, before TLS. Raises as `dial`."""
        if proxy is not None:
            return cls(address, *await open_tunnel(proxy, address, timeout_s, READ_BYTES))
        async with asyncio.timeout(timeout_s):
            streams = asyncio.open_connection(
                address.host, address.port, limit=READ_BYTES, happy_eyeballs_delay=_NEXT_ADDRESS_S
            )
            return cls(address, *await streams)

    @classmethod
    async def refusal(
        cls, address: BusAddress, trust: ssl.SSLContext, proxy: BusProxy | None, timeout_s: float
    ) -> ssl.SSLError | None:
        """What the server says of the certificate that it is shown, or not; None for nothing within `timeout_s`.

        In TLS 1.3 it says so when the client takes the handshake for done already, and may write: then the word is
        lost with the connection. Here nothing is written.
        """
        dialled: Dialled | None = None
        try:
            dialled = await cls.reach(address, proxy, timeout_s)
            async with asyncio.timeout(timeout_s):
                if address.scheme == "tls":
                    await dialled.readline()
                await dialled.start_tls(trust, timeout_s)
                await dialled.read(1)
        except ssl.SSLError as said:
            return said
        except (OSError, TimeoutError, ValueError, BusUnavailable):
            pass
        finally:
            if dialled is not None:
                dialled.abort()
        return None

    async def start_tls(self, trust: ssl.SSLContext, timeout_s: float) -> None:
        """From here on encrypted, to who has a certificate for the address's host, whatever proxy is in between.
        Nothing when it is already. Raises OSError, TimeoutError."""
        if self.encrypted:
            return
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
        self.encrypted = True

    @property
    def certificate(self) -> dict[str, Any]:
        """What the server has shown, as the standard library reads it; empty without TLS."""
        return self._writer.get_extra_info("peercert") or {}

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
        return await (self._frames or self._reader).read(buffer_size)

    async def readline(self) -> bytes:
        return await (self._frames or self._reader).readline()

    def write(self, payload: bytes) -> None:
        (self._frames or self._writer).write(payload)

    def writelines(self, payload: Sequence[bytes]) -> None:
        (self._frames or self._writer).writelines(payload)

    async def drain(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()

    def at_eof(self) -> bool:
        return (self._frames or self._reader).at_eof()

    def __bool__(self) -> bool:
        return True
