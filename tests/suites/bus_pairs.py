"""What the suite of the port `Bus` runs on: one bus for each kind of who connects, real or simulated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Bus, CaughtUp, Message, Subscription
from fleetbus.schemas.subjects import ClusterId

T = TypeVar("T")
C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Buses:
    """One bus for each kind of who connects."""

    controller: Bus
    agent: Bus
    operator: Bus
    agent_key: str
    operators_account: str
    """As the server calls it to whom is asked."""


async def soon(awaitable: Awaitable[T], timeout_s: float = 10.0) -> T:
    return await asyncio.wait_for(awaitable, timeout_s)


async def next_of(subscription: Subscription) -> Message:
    return await soon(subscription.__anext__())


async def given(items: AsyncIterator[Message | CaughtUp], count: int) -> list[str]:
    """The next `count` things that a follower gives, in short."""
    return [short(await soon(anext(items))) for _ in range(count)]


def short(item: Message | CaughtUp) -> str:
    if isinstance(item, CaughtUp):
        return "caught up"
    last = item.subject.rpartition(".")[2]
    return f"{last} removed" if "Fleetbus-Removed" in item.headers else f"{last}={item.data.decode()}"
