"""The head of an HTTP/1.1 answer, read with limits: all that is needed of HTTP to open a tunnel or a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fleetbus.runtime.foreign_text import cleaned

_MOST_BYTES = 16 * 1024
_END = b"\r\n\r\n"


class HttpMalformed(OSError):
    """What answers speaks no HTTP, or too much of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers, by name in lower case; the last of several equal ones counts. The text is the peer's."""

    status: int
    reason: str
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return cleaned(f"{self.status} {self.reason}", 80)


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Up to the empty line; what follows stays in the reader. Raises HttpMalformed, also when the peer ends early."""
    try:
        raw = await reader.readuntil(_END)
    except asyncio.IncompleteReadError as error:
        said = (
            "it closed the connection" if not error.partial else "it closed the connection within its answer"
        )
        raise HttpMalformed(said) from error
    except asyncio.LimitOverrunError as error:
        raise HttpMalformed("its answer has no end") from error
    if len(raw) > _MOST_BYTES:
        raise HttpMalformed("its answer is too long")
    return parse_head(raw)


def parse_head(raw: bytes) -> Head:
    """Pure. Raises HttpMalformed."""
    first, *lines = raw.removesuffix(_END).decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if (
        version not in ("HTTP/1.1", "HTTP/1.0")
        or len(status) != 3
        or not (status.isascii() and status.isdigit())
    ):
        raise HttpMalformed("its answer is no HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise HttpMalformed("its answer has a header that is none")
        headers[name.lower()] = value.strip()
    return Head(int(status), reason, headers)
