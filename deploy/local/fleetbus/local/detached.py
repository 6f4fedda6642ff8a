"""One supervisor in the background for one folder: it owns the servers, a command starts and ends it.

The supervisor holds a lock on `<dir>/supervisor.lock` for as long as it lives, so a process id that was
given to somebody else is never mistaken for it, and a folder has one supervisor at most.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fleetbus.local.processes import tail
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import AlreadyExists, ServerFailed, TimeoutExpired

_LOCK = "supervisor.lock"


@asynccontextmanager
async def supervising(dir: Path) -> AsyncIterator[None]:
    """Be the supervisor of `dir` for the length of this context. Raises AlreadyExists when there is one."""
    clock = SystemClock()
    with _open_lock(dir) as lock:
        # `find` holds the lock for an instant when it looks, so one refusal proves nothing.
        for _ in range(10):
            if _lock(lock):
                break
            await clock.sleep(0.05)
        else:
            raise AlreadyExists(
                f"a local fleet runs already in {dir}", remedy="end it with `fleetbus local down`"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def spawn(argv: Sequence[str], log: Path) -> int:
    """Start a supervisor that does not end with its parent nor on its Ctrl-C; its process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return child.pid


def find(dir: Path) -> int | None:
    """The process id of the supervisor of `dir`, or None when there is none."""
    try:
        with (dir / _LOCK).open("r+") as lock:
            if _lock(lock):
                return None
            return int(lock.read() or 0) or None
    except FileNotFoundError:
        return None


async def wait_up(pid: int, ready: Path, log: Path, timeout_s: float) -> None:
    """Until the supervisor has made the file `ready`. Raises ServerFailed when it ended, TimeoutExpired."""
    clock = SystemClock()
    end = clock.monotonic_s() + timeout_s
    while not _exists(ready):
        if _ended(pid):
            lines = tail(log).strip().splitlines() or ["its log is empty"]
            raise ServerFailed(f"the local fleet did not start: {lines[-1][:300]}", remedy=f"read {log}")
        if clock.monotonic_s() > end:
            raise TimeoutExpired(f"the local fleet was not up after {timeout_s:g} s", remedy=f"read {log}")
        await clock.sleep(0.1)


async def end(dir: Path, timeout_s: float = 30.0) -> bool:
    """End the supervisor of `dir`: SIGTERM, SIGKILL after `timeout_s`. False when there was none.

    Its servers end with it, by itself or by its guard.
    """
    pid = find(dir)
    if pid is None:
        return False
    clock = SystemClock()
    os.kill(pid, signal.SIGTERM)
    until = clock.monotonic_s() + timeout_s
    while find(dir) == pid:
        if clock.monotonic_s() > until:
            os.kill(pid, signal.SIGKILL)
        await clock.sleep(0.1)
    return True


def _open_lock(dir: Path) -> IO[str]:
    dir.mkdir(parents=True, exist_ok=True)
    return (dir / _LOCK).open("a+")


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.seek(0)
    return True


def _exists(file: Path) -> bool:
    return file.exists()


def _ended(pid: int) -> bool:
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        return ended == pid
    except ChildProcessError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
