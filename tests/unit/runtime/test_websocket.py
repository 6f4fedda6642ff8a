"""What is inside a WebSocket's frames comes out whole, however it was cut; what breaks the protocol ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetbus.runtime.http_upgrade import HttpMalformed, parse_head
from fleetbus.runtime.websocket import WebSocket, WebSocketBroken, accepted, frame, masked, upgrade
from fleetbus.schemas.bus_address import parse_address

ADDRESS = parse_address("wss://bus.example.com/nats")
BINARY, CONTINUED, TEXT, CLOSE, PING, PONG = 2, 0, 1, 8, 9, 10


class Written:
    """The writer's side of a socket, kept."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


def from_server(opcode: int, payload: bytes, *, final: bool = True, length: bytes | None = None) -> bytes:
    size = len(payload)
    if length is None:
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


async def read_all(chunks: Iterable[bytes], most: int = 1 << 16) -> tuple[bytes, bytes]:
    """What comes out, and what was written back."""
    reader, written = asyncio.StreamReader(), Written()
    socket = WebSocket(reader, written)  # type: ignore[arg-type]
    feeding = asyncio.ensure_future(feed(reader, chunks))
    out = b""
    try:
        while data := await socket.read(most):
            assert len(data) <= most
            out += data
        assert socket.at_eof()
        return out, written.data
    finally:
        await feeding


async def feed(reader: asyncio.StreamReader, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        reader.feed_data(chunk)
        await asyncio.sleep(0)
    reader.feed_eof()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=3), max_size=5),
    st.lists(st.integers(0, 5000), max_size=8),
    st.integers(1, 700),
)
def test_messages_come_out_whole_however_they_were_cut(
    messages: list[list[bytes]], places: list[int], most: int
) -> None:
    wire = b""
    for parts in messages:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            wire += from_server(BINARY if number == 0 else CONTINUED, part, final=last)
            wire += from_server(PING, b"p") + from_server(PONG, b"")
    out, back = asyncio.run(read_all(cut(wire + from_server(CLOSE, b""), places), most))
    assert out == b"".join(part for parts in messages for part in parts)
    pongs = sum(len(parts) for parts in messages)
    assert len(back) == 7 * pongs


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_whatever_bytes_come_are_read_or_refused(wire: bytes, places: list[int]) -> None:
    try:
        asyncio.run(read_all(cut(wire, places)))
    except WebSocketBroken:
        return


@pytest.mark.parametrize(
    "wire",
    [
        from_server(TEXT, b"x"),
        from_server(CONTINUED, b"x"),
        from_server(BINARY, b"x", final=False) + from_server(BINARY, b"y"),
        from_server(PING, b"x", final=False),
        from_server(PING, b"x" * 126),
        from_server(3, b""),
        bytes([0x80 | 0x40 | BINARY, 1]) + b"x",
        bytes([0x80 | BINARY, 0x80 | 1]) + b"maskx",
        from_server(BINARY, b"", length=b"\x7f" + b"\xff" * 8),
        from_server(BINARY, b"half", length=bytes([9])),
        b"\x82",
        b"\x82\x7e\x01",
    ],
)
async def test_what_no_server_may_send_ends_the_connection(wire: bytes) -> None:
    with pytest.raises(WebSocketBroken):
        await read_all([wire])


async def test_a_frame_that_claims_to_be_endless_is_never_held_whole() -> None:
    reader, length = asyncio.StreamReader(), b"\x7f" + (1 << 62).to_bytes(8)
    socket = WebSocket(reader, Written())  # type: ignore[arg-type]
    reader.feed_data(from_server(BINARY, b"", length=length))
    for _ in range(100):
        reader.feed_data(b"x" * 1000)
        assert await socket.read(4096) == b"x" * 1000


async def test_a_line_is_read_across_frames_and_the_rest_stays() -> None:
    reader = asyncio.StreamReader()
    socket = WebSocket(reader, Written())  # type: ignore[arg-type]
    for part in (b"INFO {", b"}\r\nPING", b"\r\n"):
        reader.feed_data(from_server(BINARY, part))
    reader.feed_eof()
    assert await socket.readline() == b"INFO {}\r\n"
    assert await socket.read(2) == b"PI"
    assert await socket.readline() == b"NG\r\n"
    assert await socket.readline() == b""


async def test_a_line_without_an_end_is_refused() -> None:
    reader = asyncio.StreamReader()
    socket = WebSocket(reader, Written())  # type: ignore[arg-type]
    for _ in range(9):
        reader.feed_data(from_server(BINARY, b"x" * 60000))
    with pytest.raises(WebSocketBroken, match="without an end"):
        await socket.readline()


@settings(deadline=None)
@given(st.binary(max_size=70000), st.binary(min_size=4, max_size=4))
def test_a_frame_is_masked_and_says_its_length(payload: bytes, mask: bytes) -> None:
    wire = frame(BINARY, payload, mask)
    size = len(payload)
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert wire[0] == 0x82
    assert wire[1] & 0x80
    assert wire[head : head + 4] == mask
    assert masked(wire[head + 4 :], mask) == payload
    assert masked(payload, mask) == bytes(one ^ mask[at % 4] for at, one in enumerate(payload))


def test_the_key_is_answered_as_the_protocol_says() -> None:
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


async def upgraded(answer: bytes) -> Any:
    reader, written = asyncio.StreamReader(), Written()
    opening = asyncio.ensure_future(upgrade(reader, written, ADDRESS))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    key = written.data.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
    assert written.data.startswith(b"GET /nats HTTP/1.1\r\nHost: bus.example.com:443\r\n")
    reader.feed_data(answer.replace(b"KEY", accepted(key).encode()))
    reader.feed_eof()
    return await opening


async def test_what_follows_the_answer_at_once_is_not_lost() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: KEY\r\n\r\n"
    socket = await upgraded(answer + from_server(BINARY, b"INFO {}\r\n"))
    assert await socket.readline() == b"INFO {}\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 404 Not \x1b[31mFound\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: KEY\r\n",
        b"HTTP/1.1 101 x\r\nA: " + b"x" * 20000 + b"\r\n\r\n",
        b"HTTP/1.1 101 x\r\nA: " + b"x" * 200000,
    ],
)
async def test_who_opens_no_websocket_is_refused(answer: bytes) -> None:
    with pytest.raises((HttpMalformed, WebSocketBroken)) as refused:
        await upgraded(answer)
    assert str(refused.value).isprintable()


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_whatever_head_comes_is_read_or_refused(raw: bytes) -> None:
    try:
        parse_head(raw + b"\r\n\r\n")
    except HttpMalformed:
        return
