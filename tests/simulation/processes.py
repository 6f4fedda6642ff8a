"""Programs as the simulation runs them: each life may end at any await, as by kill -9, and begins again later.

Every task knows whose it is. A kill cancels all tasks of a life at once, and its ports are dead from then on,
so that nothing that runs on the way out reaches a server.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from random import Random
from typing import Any, NoReturn

from fleetbus.runtime.clock import Clock

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""Whose task runs: None is the world, such as somebody with kubectl."""


class Process:
    """One life of a program. `name` is its slot's, `holder` its own."""

    def __init__(self, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        self.alive = True
        self.on_death: list[Callable[[], None]] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.ports: list[object] = []
        self.main: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.holder}>"

    def start(self, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        context = copy_context()
        context.run(PROCESS.set, self)
        self.main = asyncio.get_running_loop().create_task(main, context=context)
        return self.main

    def kill(self) -> None:
        """As kill -9 does: it does nothing any more, not even in a finally."""
        if not self.alive:
            return
        self.alive = False
        for die in self.on_death:
            die()
        for task in list(self.tasks):
            task.cancel()

    def die(self) -> NoReturn:
        """The process ends itself, here."""
        self.kill()
        raise asyncio.CancelledError

    def expect_alive(self) -> None:
        """Raises CancelledError in the dead: what they await never comes."""
        if not self.alive:
            raise asyncio.CancelledError


class _NumberedTask(asyncio.Task[Any]):
    """asyncio keeps tasks in sets, which would otherwise be in the order of their addresses."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, **more: Any) -> None:
        self.number = number
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self.number


def track_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on every task is its process's; one that a dead process makes is cancelled at once."""
    numbers = itertools.count(1)

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        task = _NumberedTask(coroutine, next(numbers), loop=loop, **more)
        context = more.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None))
            if not process.alive:
                task.cancel()
        return task

    loop.set_task_factory(make)  # type: ignore[arg-type]


Program = Callable[[Process], Coroutine[Any, Any, None]]
"""What a life does, from its start."""


class Slot:
    """Where one program runs: it is started, and started again after each death, until `stop`."""

    def __init__(self, name: str, program: Program, clock: Clock, chance: Random, ended: list[str]) -> None:
        self.name = name
        self.process: Process | None = None
        self.lives = 0
        self.longest_rest_s = 20.0
        self._program = program
        self._clock = clock
        self._chance = chance
        self._ended = ended
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Kill it and start it no more."""
        if self._running is None:
            return
        running, self._running = self._running, None
        running.cancel()
        if self.process is not None:
            self.process.kill()
        await asyncio.wait([running])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    async def terminate(self) -> None:
        """As SIGTERM does: it may still give back what it holds."""
        process = self.process
        if process is not None and process.main is not None and process.alive:
            process.main.cancel()
            await asyncio.wait([process.main])
            process.kill()

    async def _run(self) -> None:
        while True:
            self.lives += 1
            process = self.process = Process(self.name, f"{self.name}.{self.lives}")
            main = process.start(self._program(process))
            await asyncio.wait([main])
            killed = not process.alive
            process.kill()
            if not killed and not main.cancelled() and main.exception() is not None:
                self._ended.append(f"{process.holder} ended by itself: {main.exception()!r}")
            await self._clock.sleep(self._chance.random() ** 2 * self.longest_rest_s)
