"""Reading the wire: whatever a peer wrote arrives escaped, and whatever the server wrote wrongly is an error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from fleetbus.runtime.nats_wire import (
    Delivery,
    Parser,
    deliver,
    publish_command,
    readable,
    subscribe_command,
    whole_number,
)
from fleetbus.schemas.errors import MessageMalformed


class Client:
    """What a parser found, as nats-py's client would be told."""

    def __init__(self) -> None:
        self.found: list[tuple[int, Delivery]] = []
        self.said: list[str] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, block: bytes) -> None:
        self.found.append((sid, deliver(subject, reply, data, block)))

    async def _process_err(self, message: str) -> None:
        self.said.append(f"error {message}")

    async def _process_ping(self) -> None:
        self.said.append("ping")

    async def _process_pong(self) -> None:
        self.said.append("pong")

    async def _process_info(self, info: dict[str, object]) -> None:
        self.said.append(f"info {info}")


async def parsed(*chunks: bytes) -> Client:
    client = Client()
    parser = Parser(client)
    for chunk in chunks:
        await parser.parse(chunk)
    return client


async def test_messages_and_control_lines_come_in_order_however_they_are_cut() -> None:
    wire = (
        b'PING\r\nINFO {"ldm": true}\r\nMSG a.b 1 5\r\nhello\r\n+OK\r\n'
        b"HMSG a.b 2 re.ply 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\nPONG\r\n-ERR 'no'\r\n"
    )
    for size in (1, 2, 7, len(wire)):
        client = await parsed(*(wire[at : at + size] for at in range(0, len(wire), size)))
        assert client.said == ["ping", "info {'ldm': True}", "pong", "error no"]
        assert client.found == [
            (1, Delivery("a.b", "", b"hello")),
            (2, Delivery("a.b", "re.ply", b"hi", {"A": "1"})),
        ]


async def test_a_vertical_tab_in_a_subject_does_not_choose_another_subscription() -> None:
    client = await parsed(b"MSG fleet\x0b7\x0b5 1 2\r\nhi\r\n")
    assert client.found == [(1, Delivery(r"fleet\x0b7\x0b5", "", b"hi"))]


async def test_bytes_that_are_no_text_are_escaped_and_delivered() -> None:
    client = await parsed(b"MSG a.\xff\xfe 1 r\xc3.x 2\r\nhi\r\n")
    assert client.found == [(1, Delivery(r"a.\xff\xfe", r"r\xc3.x", b"hi"))]


@pytest.mark.parametrize(
    ("block", "status", "description", "headers"),
    [
        (b"NATS/1.0", "", "", {}),
        (b"NATS/1.0\r\n", "", "", {}),
        (b"NATS/1.0\r\n\r\n", "", "", {}),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", "404", "Message Not Found", {}),
        (b"NATS/1.0 100 Idle Heartbeat\r\nA: 1\r\n\r\n", "100", "Idle Heartbeat", {"A": "1"}),
        (b"NATS/1.0 \xff\xff\xff \xfe\r\n\r\n", r"\xff\xff\xff", r"\xfe", {}),
        (b"NATS/1.0 ", "", "", {}),
        (b"garbage\r\nno colon\r\n: empty\r\nA:\x1b[2J\r\n\r\n", "", "", {"": "empty", "A": r"\x1b[2J"}),
        (b"NATS/1.0\r\nSeq: 9\r\n\r\nSeq: 1\r\n\r\n", "", "", {"Seq": "1"}),
    ],
)
def test_every_header_block_is_read(
    block: bytes, status: str, description: str, headers: dict[str, str]
) -> None:
    assert deliver(b"s", b"", b"", block) == Delivery("s", "", b"", headers, status, description)


@pytest.mark.parametrize(
    "wire",
    [
        b"MSG a 1\r\n",
        b"MSG a x 5\r\n",
        b"MSG a  1 5\r\n\r\n",
        b"HMSG a 1 9 5\r\n",
        b"WHAT\r\n",
        b"MSG a 1 2\r\nhello\r\n",
        b"INFO nothing\r\n",
        b"x" * 100_000,
    ],
)
async def test_what_the_server_itself_cannot_mean_is_a_protocol_error(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        await parsed(wire)


@given(st.binary(max_size=300))
async def test_arbitrary_bytes_raise_nothing_but_a_protocol_error(wire: bytes) -> None:
    with suppress(ProtocolError):
        await parsed(wire)


@given(
    st.binary(min_size=1, max_size=40).filter(lambda raw: not set(raw) & set(b" \r\n\t")),
    st.binary(max_size=60),
    st.binary(max_size=60),
)
async def test_whatever_a_peer_puts_into_its_parts_the_next_message_arrives(
    subject: bytes, block: bytes, data: bytes
) -> None:
    size = len(block) + len(data)
    line = b"HMSG %b 1 %d %d\r\n" % (subject, len(block), size)
    client = await parsed(line + block + data + b"\r\nMSG next 2 0\r\n\r\n")
    assert [sid for sid, _ in client.found] == [1, 2]
    first = client.found[0][1]
    assert first.data == data
    assert first.subject.isprintable()
    assert all(text.isprintable() for pair in first.headers.items() for text in pair)


@given(st.binary(max_size=100))
def test_readable_text_has_no_control_character(raw: bytes) -> None:
    assert readable(raw).isprintable()


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a\tb", "a\x0bb", "a\u2028b"])
def test_a_subject_that_would_break_its_line_is_refused(subject: str) -> None:
    with pytest.raises(MessageMalformed):
        publish_command(subject, "", b"", None)
    with pytest.raises(MessageMalformed):
        subscribe_command(subject, "", 1)
    if subject:
        with pytest.raises(MessageMalformed):
            publish_command("a", subject, b"", None)


@pytest.mark.parametrize("headers", [{"A": "1\r\nB: 2"}, {"A:B": "1"}, {"": "1"}, {"A B": "1"}, {"A\n": "1"}])
def test_a_header_that_would_break_its_line_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MessageMalformed):
        publish_command("a", "", b"", headers)


def test_only_decimal_digits_of_a_sane_length_are_a_number() -> None:
    assert whole_number("18446744073709551615") == 2**64 - 1
    assert [whole_number(text) for text in ("", "-1", "1.5", "٣", "9" * 5000, " 7")] == [0] * 6
