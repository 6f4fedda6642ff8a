"""Time, chance and identifiers come through this one door, so that a simulation can own them."""

from __future__ import annotations

import asyncio
import random
import secrets
from datetime import UTC, datetime
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Clock(Protocol):
    """Now, sleep, jitter, identifiers. `SystemClock` in life, a seeded one in the simulation."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self, seconds: float, share: float = 0.25) -> float:
        """`seconds` give or take `share` of it, evenly distributed."""
        ...

    def identifier(self) -> str:
        """A new identifier, 16 lower-case characters that sort by the second they were made in."""
        ...


class SystemClock:
    """The machine's clock and chance."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float, share: float = 0.25) -> float:
        return seconds * (1 + share * (2 * random.random() - 1))

    def identifier(self) -> str:
        return identifier(self.now(), secrets.token_bytes(6))


def unpredictable(count: int) -> bytes:
    """Bytes for what a peer must not guess, such as the mask of a WebSocket's frame; no decision hangs on them."""
    return secrets.token_bytes(count)


def identifier(at: datetime, chance: bytes) -> str:
    """The identifier for a moment and 48 bits of chance: 7 characters of time, 9 of chance."""
    number = (int(at.timestamp()) & (2**35 - 1)) << 45 | int.from_bytes(chance[:6]) & (2**45 - 1)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -5, -5))
