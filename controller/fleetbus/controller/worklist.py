"""Keys to work on: each at most once in the queue, never twice at a time, bounded, with back-off.

Only this loop tries again. Work says when it wants to run again; whoever adds a key meanwhile runs it earlier.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

import structlog

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.loop import apart
from fleetbus.schemas.errors import Transient

K = TypeVar("K", bound=Hashable)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 60.0

_log = structlog.get_logger("controller")


class Pulse:
    """Wakes everybody who waits, each time it is fired."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, without jitter."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))


class Worklist(Generic[K]):
    """`work(key)` returns the seconds after which it wants to run again, or None. Transient errors back off.

    `spacing_s`: how much time lies at least between two runs of one key.
    """

    def __init__(
        self,
        clock: Clock,
        work: Callable[[K], Awaitable[float | None]],
        *,
        at_once: int = 8,
        spacing_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.finished = Pulse()
        self._clock = clock
        self._work = work
        self._at_once = at_once
        self._spacing_s = spacing_s
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._soon: set[K] = set()
        self._failures: dict[K, int] = {}
        self._ended_s: dict[K, float] = {}
        self._timers: dict[K, asyncio.Task[None]] = {}
        self._added = Pulse()
        self._tasks: asyncio.TaskGroup | None = None

    def add(self, key: K, *, first: bool = False) -> None:
        """Work on `key` as soon as there is room; with `first` before everything that waits."""
        if key in self._queued:
            if first:
                self._ready.remove(key)
                self._ready.appendleft(key)
            return
        if key in self._soon:
            return
        if key in self._running:
            self._again.add(key)
            return
        ended_s = self._ended_s.get(key)
        rest_s = 0.0 if ended_s is None else ended_s + self._spacing_s() - self._clock.monotonic_s()
        if rest_s > 0:
            self._soon.add(key)
            self._start_timer(key, rest_s)
            return
        self._stop_timer(key)
        self._queued.add(key)
        if first:
            self._ready.appendleft(key)
        else:
            self._ready.append(key)
        self._added.fire()

    def busy(self, keys: Iterable[K]) -> bool:
        """Whether any of `keys` waits for its turn or is being worked on."""
        return any(
            key in self._queued or key in self._running or key in self._again or key in self._soon
            for key in keys
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for _ in range(self._at_once):
                tasks.create_task(self._attend())

    async def _attend(self) -> None:
        while True:
            while not self._ready:
                await self._added.wait()
            key = self._ready.popleft()
            self._queued.discard(key)
            self._running.add(key)
            try:
                again_s = await self._once(key)
            finally:
                self._running.discard(key)
            self._ended_s[key] = self._clock.monotonic_s()
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif again_s is not None:
                self._start_timer(key, again_s)
            elif not self._spacing_s():
                self._ended_s.pop(key, None)
            self.finished.fire()

    async def _once(self, key: K) -> float | None:
        try:
            again_s = await apart(self._work(key))
        except Transient as error:
            return self._later(key, error.sentence(), "")
        except Exception as error:  # The edge of the loop: one key's mistake must not stop the others.
            return self._later(key, type(error).__name__, raised_at(error))
        self._failures.pop(key, None)
        return again_s

    def _later(self, key: K, reason: str, place: str) -> float:
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        if place:
            _log.error("failed, tried again later", what=str(key), error=reason, raised_at=place)
        elif failures in {1, 5} or failures % 20 == 0:
            _log.warning("to be tried again", what=str(key), reason=reason, failures=failures)
        return self._clock.jitter(pause_s(failures))

    def _start_timer(self, key: K, seconds: float) -> None:
        self._stop_timer(key)
        if self._tasks is not None:
            self._timers[key] = self._tasks.create_task(self._wake(key, seconds))

    def _stop_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def _wake(self, key: K, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self._soon.discard(key)
        self._ended_s.pop(key, None)
        self.add(key)
