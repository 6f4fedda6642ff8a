"""A seeded event loop on virtual time: idle jumps to the next timer, ready callbacks are shuffled.

Time is a number; nothing ever waits. Being idle for ever is an error, threads and processes are refused, so that
a run is a pure function of its seed. It leans on private names of asyncio, which `test_loop.py` guards.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fleetbus.runtime.clock import identifier

T = TypeVar("T")
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Deadlock(AssertionError):
    """Nothing is ready and no timer runs: the simulation would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps and whose chance is `chance`."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._virtual_s = 0.0
        self.steps = 0
        self.after_step: Callable[[], None] | None = None

    def time(self) -> float:
        return self._virtual_s

    def run_in_executor(self, *_args: Any, **_kwargs: Any) -> Any:  # type: ignore[override]
        raise AssertionError("the simulation has no threads: cut at the ports")

    def _run_once(self) -> None:
        loop: Any = self
        while loop._scheduled and loop._scheduled[0]._cancelled:
            handle = loop._scheduled[0]
            handle._scheduled = False
            loop._timer_cancelled_count = max(0, loop._timer_cancelled_count - 1)
            heapq.heappop(loop._scheduled)
        if not loop._ready and not loop._stopping:
            if not loop._scheduled:
                raise Deadlock("nothing is ready and no timer runs")
            self._virtual_s = max(self._virtual_s, loop._scheduled[0]._when)
        ready = list(loop._ready)
        self._chance.shuffle(ready)
        loop._ready = deque(ready)
        super()._run_once()  # type: ignore[misc]  # private, guarded by test_loop
        self.steps += 1
        if self.after_step is not None:
            self.after_step()


class VirtualClock:
    """The Clock port on a VirtualLoop. `skew_s` sets one machine's wall clock apart from the others'."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, skew_s: float = 0.0) -> None:
        self._loop = loop
        self._chance = chance
        self.skew_s = skew_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time() + self.skew_s)

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float, share: float = 0.25) -> float:
        return seconds * (1 + share * (2 * self._chance.random() - 1))

    def identifier(self) -> str:
        return identifier(self.now(), self._chance.randbytes(6))


def simulate(
    seed: int,
    scenario: Callable[[VirtualLoop, random.Random], Coroutine[Any, Any, T]],
    limit_s: float = 3600.0,
) -> T:
    """Run a scenario to its end on virtual time; a failure names the seed that replays it."""
    chance = random.Random(seed)
    loop = VirtualLoop(chance)

    async def bounded() -> T:
        async with asyncio.timeout(limit_s):
            return await scenario(loop, chance)

    try:
        return loop.run_until_complete(bounded())
    except BaseException as error:
        error.add_note(f"replay with seed {seed} (virtual time {loop.time():.3f} s, {loop.steps} steps)")
        raise
    finally:
        loop.after_step = None
        _cancel_all(loop)
        loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
