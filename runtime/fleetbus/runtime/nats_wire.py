"""What stands on the wire of NATS: control lines and header blocks, read without ever failing on a peer's bytes.

A subject, a reply or a header may hold anything that some peer of the same server could write. What cannot be
shown is escaped (`\\x0b`, `\\xff`), never dropped: a message that vanished would look like a loss. Only the
server's own part of a line can be malformed, and then the connection is not to be trusted any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetbus.runtime.nats_lean import ProtocolError, parser
from fleetbus.schemas.errors import MessageMalformed

HEADER_LINE = b"NATS/1.0"
_END = b"\r\n"
_MAX_LINE_BYTES = 64 * 1024


@dataclass(slots=True)
class Delivery:
    """One message as the server delivered it. `status` is the inline status of the header block, if any."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status: str = ""
    description: str = ""


def readable(raw: bytes) -> str:
    """`raw` as text without control characters or line ends, whatever it holds."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def deliver(subject: bytes, reply: bytes, data: bytes, block: bytes) -> Delivery:
    """A delivery from its parts. The last of several equal headers counts: the server adds its own at the end."""
    delivery = Delivery(readable(subject), readable(reply), data)
    if not block:
        return delivery
    first, *lines = block.split(_END)
    if first.startswith(HEADER_LINE + b" "):
        inline = first[len(HEADER_LINE) + 1 :]
        delivery.status, delivery.description = readable(inline[:3]), readable(inline[4:])
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            delivery.headers[readable(name.strip())] = readable(value.strip())
    return delivery


def publish_command(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> bytes:
    """PUB or HPUB. Raises MessageMalformed for a subject or header that would break out of its line."""
    if not _is_token(subject) or (reply and not _is_token(reply)):
        raise MessageMalformed("a subject with blanks or control characters cannot be published to")
    if headers is None:
        return f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + _END
    block = bytearray(HEADER_LINE + _END)
    for name, value in headers.items():
        if not _is_token(name) or ":" in name or not value.isprintable():
            raise MessageMalformed(f"the header `{readable(name.encode())}` cannot be published")
        block += f"{name}: {value}\r\n".encode()
    block += _END
    return f"HPUB {subject} {reply} {len(block)} {len(block) + len(data)}\r\n".encode() + block + data + _END


def subscribe_command(subject: str, queue: str, sid: int) -> bytes:
    """SUB. Raises MessageMalformed for a subject that would break out of its line."""
    if not _is_token(subject) or (queue and not _is_token(queue)):
        raise MessageMalformed("a subject with blanks or control characters cannot be subscribed to")
    return f"SUB {subject} {queue} {sid}\r\n".encode()


def whole_number(text: str) -> int:
    """A number that a server wrote in decimal, 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0


def _is_token(text: str) -> bool:
    return bool(text) and text.isprintable() and not any(character.isspace() for character in text)


@dataclass(frozen=True, slots=True)
class _Expected:
    sid: int
    subject: bytes
    reply: bytes
    header_bytes: int
    total_bytes: int


class Parser(parser.Parser):
    """Splits the server's bytes into control lines and messages, for a nats-py client.

    Lines are split on single spaces only: the server forbids them in subjects, but not a vertical tab, at
    which a split on any white space would let a peer name the subscription that its message goes to.
    """

    def reset(self) -> None:
        self._buffer = bytearray()
        self._expected: _Expected | None = None

    async def parse(self, data: bytes = b"") -> None:
        """Take more bytes. Raises nats ProtocolError when the server's part of a line is wrong."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while True:
                if self._expected is None:
                    end = buffer.find(_END, at)
                    if end < 0:
                        if len(buffer) - at > _MAX_LINE_BYTES:
                            raise ProtocolError("a control line without an end")
                        return
                    line, at = bytes(buffer[at:end]), end + 2
                    await self._line(line)
                else:
                    end = at + self._expected.total_bytes
                    if len(buffer) < end + 2:
                        return
                    if buffer[end : end + 2] != _END:
                        raise ProtocolError("a message longer than announced")
                    payload, at = bytes(buffer[at:end]), end + 2
                    await self._message(self._expected, payload)
        finally:
            del buffer[:at]

    async def _line(self, line: bytes) -> None:
        parts = line.split(b" ")
        match parts[0]:
            case b"MSG" if len(parts) in (4, 5):
                self._expected = _expected(parts, 0)
            case b"HMSG" if len(parts) in (5, 6):
                self._expected = _expected(parts, 1)
            case b"PING":
                await self.nc._process_ping()
            case b"PONG":
                await self.nc._process_pong()
            case b"+OK":
                pass
            case b"-ERR":
                await self.nc._process_err(readable(line[5:]).strip().strip("'"))
            case b"INFO":
                await self.nc._process_info(_info(line[5:]))
            case _:
                raise ProtocolError("a control line that is none")

    async def _message(self, expected: _Expected, payload: bytes) -> None:
        self._expected = None
        block, data = payload[: expected.header_bytes], payload[expected.header_bytes :]
        await self.nc._process_msg(expected.sid, expected.subject, expected.reply, data, block)


def _info(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as cause:
        raise ProtocolError("an INFO that is no JSON") from cause
    return said if isinstance(said, dict) else {}


def _expected(parts: list[bytes], sizes: int) -> _Expected:
    """`MSG subject sid [reply] size` and `HMSG subject sid [reply] header-size size`."""
    try:
        sid, total = int(parts[2]), int(parts[-1])
        header = int(parts[-2]) if sizes else 0
    except ValueError as cause:
        raise ProtocolError("a message line without numbers") from cause
    if not 0 <= header <= total:
        raise ProtocolError("a header longer than its message")
    reply = parts[3] if len(parts) == 5 + sizes else b""
    return _Expected(sid, parts[1], reply, header, total)
