"""Tests wait for conditions, never for time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from fleetbus.runtime.clock import Clock


async def wait_until(
    condition: Callable[[], Awaitable[bool]], clock: Clock, timeout_s: float, every_s: float = 0.05
) -> bool:
    """Ask `condition` again and again until it is true (True) or `timeout_s` have passed (False)."""
    end = clock.now() + timedelta(seconds=timeout_s)
    while not await condition():
        if clock.now() >= end:
            return False
        await clock.sleep(every_s)
    return True
