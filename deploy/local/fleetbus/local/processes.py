"""Servers as child processes that never outlive the process that started them, not even on kill -9.

Each server asks the kernel to be killed with its parent (`setpriv --pdeathsig`), and one guard process
holds all group ids on a pipe, for what the servers themselves have started. The kernel's promise follows
the thread that forked, so servers are started from the main thread only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.failures import first_leaf
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import FleetbusError, ServerFailed, TimeoutExpired

T = TypeVar("T")

Probe = Callable[[], Awaitable[bool]]

# The shell closes the gap between fork and setpriv: who finds another parent than the one named goes away.
_WITH_PARENT = 'test "$PPID" = "$0" && exec "$@"'


class Process:
    """One server: its process, its log, its way to end and to come back. Made by `Processes.start`."""

    def __init__(self, group: Processes, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path):
        self.name = name
        self.log = group.logs / f"{name}.log"
        self._group = group
        self._argv = list(argv)
        self._env = dict(env)
        self._cwd = cwd
        self._child: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._held = False

    @property
    def pid(self) -> int:
        """The process id of the running (or last) child."""
        if self._child is None:
            raise ServerFailed(f"{self.name} was never started")
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Start it, or start it again with the same arguments; its log is continued."""
        if self.alive:
            return
        if threading.current_thread() is not threading.main_thread():
            raise ServerFailed(f"{self.name} must be started from the main thread")
        if self._held:
            await self.kill()
        self._child = await self._spawn()
        self._wanted = self._held = True
        await self._group.hold(self._child.pid)

    async def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL when it is still there after `grace_s`."""
        await self._end(signal.SIGTERM, grace_s)

    async def kill(self) -> None:
        """SIGKILL to it and to all that it started; returns when it is gone."""
        await self._end(signal.SIGKILL, 10.0)

    async def restart(self) -> None:
        """Stop and start with the same arguments."""
        await self.stop()
        await self.start()

    def send(self, number: signal.Signals) -> None:
        """A signal to the server alone, such as SIGHUP, SIGSTOP or SIGCONT."""
        os.kill(self.pid, number)

    async def wait_ready(self, probe: Probe, timeout_s: float = 30.0, every_s: float = 0.03) -> None:
        """Until `probe` is true. Raises ServerFailed when it ends early, TimeoutExpired after `timeout_s`."""
        clock = SystemClock()
        try:
            async with asyncio.timeout(timeout_s):
                while not await probe():
                    if not self.alive:
                        raise self.failure()
                    await clock.sleep(every_s)
        except TimeoutError as cause:
            message = f"{self.name} was not ready after {timeout_s:g} s: {self.last_line()}"
            raise TimeoutExpired(message, remedy=f"read {self.log}") from cause

    async def wait_ended(self) -> int:
        """Until the child ends; its exit code, negative for a signal."""
        if self._child is None:
            raise ServerFailed(f"{self.name} was never started")
        return await self._child.wait()

    def failure(self) -> ServerFailed:
        """The error for a server that ended and should not have."""
        code = self._child.returncode if self._child else None
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return ServerFailed(f"{self.name} {how}: {self.last_line()}", remedy=f"read {self.log}")

    def ended_unasked(self) -> bool:
        return self._wanted and not self.alive

    def last_line(self) -> str:
        """The last line of its log that says something, without control characters, at most 300 characters."""
        lines = tail(self.log).splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "its log is empty")
        return cleaned(last, 300)

    async def _spawn(self) -> asyncio.subprocess.Process:
        argv = ["/bin/sh", "-c", _WITH_PARENT, str(os.getpid()), *self._argv]
        if setpriv := shutil.which("setpriv"):
            argv = [setpriv, "--pdeathsig", "KILL", "--", *argv]
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )

    async def _end(self, number: signal.Signals, grace_s: float) -> None:
        child, self._wanted = self._child, False
        if child is None or not self._held:
            return
        # A server that was paused could not hear SIGTERM.
        _signal_group(child.pid, signal.SIGCONT if child.returncode is None else None)
        _signal_group(child.pid, number if child.returncode is None else None)
        try:
            async with asyncio.timeout(grace_s):
                await child.wait()
        except TimeoutError:
            pass
        finally:
            _signal_group(child.pid, signal.SIGKILL)
        await child.wait()
        self._held = False
        await self._group.release(child.pid)


class Processes:
    """A group of servers with one folder of logs. `async with` starts the guard; leaving ends all of them.

    Servers end in reverse order of their start; usually each has been ended before by its own context.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._servers: dict[str, Process] = {}
        self._guard: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("guard.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in reversed(list(self._servers.values())):
            await server.stop()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await self._guard.wait()
            self._guard = None

    async def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a server; its output goes to `<logs>/<name>.log`. `env` is added to a bare environment.

        Raises ServerFailed when a live server has that name already.
        """
        before = self._servers.get(name)
        if before is not None and before.alive:
            raise ServerFailed(f"a server named {name} runs already", remedy=f"read {before.log}")
        bare = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR", "LANG")}
        server = Process(self, name, [str(part) for part in argv], bare | dict(env or {}), cwd or self.logs)
        self._servers.pop(name, None)
        self._servers[name] = server
        await server.start()
        return server

    async def watch(self, every_s: float = 0.5) -> NoReturn:
        """Raise ServerFailed when a server ends that nobody asked to; else until cancelled."""
        clock = SystemClock()
        while True:
            for server in self._servers.values():
                if server.ended_unasked():
                    raise server.failure()
            await clock.sleep(every_s)

    async def hold(self, group: int) -> None:
        """Tell the guard of a process group."""
        await self._tell(f"+{group}\n")

    async def release(self, group: int) -> None:
        """Tell the guard that a process group is gone."""
        await self._tell(f"-{group}\n")

    async def _tell(self, line: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            raise ServerFailed("the group of processes has not been entered")
        with suppress(ConnectionError):
            self._guard.stdin.write(line.encode())
            await self._guard.stdin.drain()


@asynccontextmanager
async def together(*servers: AbstractAsyncContextManager[T]) -> AsyncIterator[list[T]]:
    """Enter all at the same time, leave all at the same time. If one fails to start, all are left again."""
    async with AsyncExitStack() as cleanup:
        entered: list[AbstractAsyncContextManager[T]] = []

        async def enter(server: AbstractAsyncContextManager[T]) -> T:
            value = await server.__aenter__()
            entered.append(server)
            return value

        async def leave() -> None:
            await asyncio.gather(*(server.__aexit__(None, None, None) for server in entered))

        cleanup.push_async_callback(leave)
        try:
            async with asyncio.TaskGroup() as tasks:
                starting = [tasks.create_task(enter(server)) for server in servers]
        except* FleetbusError as failures:
            raise first_leaf(failures) from failures
        yield [task.result() for task in starting]


def tail(file: Path, size_bytes: int = 4096) -> str:
    """The end of a log, or nothing when there is none."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - size_bytes))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def _signal_group(group: int, number: signal.Signals | None) -> None:
    if number is not None:
        with suppress(ProcessLookupError):
            os.killpg(group, number)
