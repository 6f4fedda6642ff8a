"""A WebSocket to a server of NATS (RFC 6455, client's side): binary frames as one stream of bytes, in both directions.

Whoever answers may be hostile: no frame is ever held whole, whatever length it claims, and what breaks the protocol
ends the connection with an error that says so.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

from fleetbus.runtime.clock import unpredictable
from fleetbus.runtime.http_upgrade import HttpMalformed, read_head
from fleetbus.schemas.bus_address import BusAddress

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_LINE_BYTES = 128 * 1024
_MOST_CONTROL_BYTES = 125
_CONTINUED, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_FIN, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F


class WebSocketBroken(OSError):
    """The peer does not keep to the protocol."""


class WebSocket:
    """What is inside the frames, after `upgrade`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._left = 0
        """Of the frame that is being read."""
        self._final = True
        self._ended = False
        self._rest = b""
        """What `readline` has read beyond its line."""

    async def read(self, most: int) -> bytes:
        """At least one byte, or nothing when the peer has closed. Raises WebSocketBroken, OSError."""
        if self._rest:
            taken, self._rest = self._rest[:most], self._rest[most:]
            return taken
        while not self._left:
            if self._ended or not await self._next_frame():
                self._ended = True
                return b""
        data = await self._reader.read(min(most, self._left))
        if not data:
            raise WebSocketBroken("the connection ended within a frame")
        self._left -= len(data)
        return data

    async def readline(self) -> bytes:
        """Up to and with a line feed. Raises as `read`; WebSocketBroken for a line without an end."""
        line = b""
        while b"\n" not in line:
            more = await self.read(_MOST_LINE_BYTES)
            if not more:
                return line
            line += more
            if len(line) > _MOST_LINE_BYTES and b"\n" not in line:
                raise WebSocketBroken("a line without an end")
        end = line.index(b"\n") + 1
        self._rest = line[end:] + self._rest
        return line[:end]

    def write(self, payload: bytes) -> None:
        self._writer.write(frame(_BINARY, payload, unpredictable(4)))

    def writelines(self, payloads: Sequence[bytes]) -> None:
        """As one frame."""
        self.write(b"".join(payloads))

    def at_eof(self) -> bool:
        return self._ended

    async def _next_frame(self) -> bool:
        """The head of the next frame with data; control frames before it are dealt with. False: the peer closes."""
        while True:
            try:
                first, second = await self._reader.readexactly(2)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise WebSocketBroken("the connection ended within a frame") from error
                return False
            opcode, final = first & _OPCODE, bool(first & _FIN)
            if first & _RESERVED or second & _MASKED:
                raise WebSocketBroken("a frame that no server may send")
            length = await self._length(second & _LENGTH)
            if opcode in (_CLOSE, _PING, _PONG):
                if not final or length > _MOST_CONTROL_BYTES:
                    raise WebSocketBroken("a control frame that is none")
                payload = await self._exactly(length)
                if opcode == _CLOSE:
                    return False
                if opcode == _PING:
                    self._writer.write(frame(_PONG, payload, unpredictable(4)))
                    # A peer that pings and reads nothing must not fill this side's memory.
                    await self._writer.drain()
                continue
            if opcode != (_BINARY if self._final else _CONTINUED):
                raise WebSocketBroken("a frame out of order, or of text")
            self._final, self._left = final, length
            return True

    async def _length(self, short: int) -> int:
        if short < 126:
            return short
        length = int.from_bytes(await self._exactly(2 if short == 126 else 8))
        if length >> 63:
            raise WebSocketBroken("a frame longer than one may be")
        return length

    async def _exactly(self, count: int) -> bytes:
        try:
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise WebSocketBroken("the connection ended within a frame") from error


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One whole masked frame. Pure."""
    size = len(payload)
    if size < 126:
        head = bytes([_FIN | opcode, _MASKED | size])
    elif size < 1 << 16:
        head = bytes([_FIN | opcode, _MASKED | 126]) + size.to_bytes(2)
    else:
        head = bytes([_FIN | opcode, _MASKED | 127]) + size.to_bytes(8)
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Its own inverse."""
    size = len(payload)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(whole)).to_bytes(size)


async def upgrade(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: BusAddress
) -> WebSocket:
    """Raises HttpMalformed, WebSocketBroken when the peer does not upgrade, OSError."""
    key = base64.b64encode(unpredictable(16)).decode()
    writer.write(
        f"GET {address.path or '/'} HTTP/1.1\r\nHost: {address.authority}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await writer.drain()
    head = await read_head(reader)
    if head.status != 101:
        raise WebSocketBroken(f"what answers there opens no WebSocket ({head})")
    if head.headers.get("sec-websocket-accept") != accepted(key):
        raise HttpMalformed("what answers there opens a WebSocket without having read the request")
    if "sec-websocket-extensions" in head.headers or "sec-websocket-protocol" in head.headers:
        raise WebSocketBroken("what answers there speaks an extension that nobody asked for")
    return WebSocket(reader, writer)


def accepted(key: str) -> str:
    """What a server answers to the key. SHA-1, as the protocol has it; nothing rests on it."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
