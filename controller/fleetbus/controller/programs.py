"""Other programs (git, kubectl), run with limits: of time, output and memory; nothing of them outlives us."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fleetbus.runtime.foreign_text import cleaned_lines
from fleetbus.schemas.errors import ObjectInvalid, SettingsInvalid, TimeoutExpired

_COMPLAINT_BYTES = 16 * 1024
_GRACE_S = 2.0
_CHUNK_BYTES = 64 * 1024
_BLOCK_BYTES = 512
"""The unit of `ulimit -f` (POSIX)."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`complaint` is what it wrote to stderr, clean for a terminal, without what was to be hidden."""

    code: int
    output: bytes
    complaint: str


async def run_program(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    timeout_s: float,
    output_limit_bytes: int = 1024 * 1024,
    hide: Iterable[str] = (),
    without_network: bool = False,
    memory_limit_bytes: int = 0,
    file_limit_bytes: int = 0,
) -> Ended:
    """Run to its end; cancelled or too late, it and its children are asked to end, and killed after 2 s.

    `environment` is all that it gets, `file_limit_bytes` the most that it may write to one file. Raises
    TimeoutExpired, ObjectInvalid (more output than allowed), SettingsInvalid (no such program).
    """
    name = Path(argv[0]).name
    limits = (without_network, memory_limit_bytes, file_limit_bytes, timeout_s)
    prefix = await asyncio.to_thread(_prefix, *limits)
    process = await _start([*prefix, *argv], environment, folder)
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await _drain(process, output_limit_bytes)
            code = await process.wait()
    except TimeoutError as error:
        raise TimeoutExpired(f"{name} did not end within {timeout_s:g} s") from error
    finally:
        await _kill(process)
    if len(output) > output_limit_bytes:
        raise ObjectInvalid(f"{name} gave more than {output_limit_bytes // 2**20} MiB")
    return Ended(code, output, _readable(complaint.decode(errors="replace"), hide))


def _readable(text: str, hide: Iterable[str] = ()) -> str:
    """`text` without control characters and without anything that is in `hide`."""
    for secret in sorted({one for one in hide if one}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return cleaned_lines(text)


def without_network_possible() -> bool:
    """Whether a program can be given a network namespace of its own here."""
    return _unshare() is not None


async def _start(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            limit=_CHUNK_BYTES,
        )
    except FileNotFoundError as error:
        raise SettingsInvalid(f"the program `{argv[0]}` is not installed on the controller") from error


async def _drain(process: Process, limit_bytes: int) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        output = group.create_task(_read(process, process.stdout, limit_bytes, ends=True))
        complaint = group.create_task(_read(process, process.stderr, _COMPLAINT_BYTES, ends=False))
    return output.result(), complaint.result()


async def _read(process: Process, stream: asyncio.StreamReader, limit_bytes: int, *, ends: bool) -> bytes:
    """At most one byte more than the limit; past it the program is ended, or the rest is dropped."""
    kept = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        kept += chunk[: limit_bytes + 1 - len(kept)]
        if ends and len(kept) > limit_bytes:
            _signal(process, signal.SIGKILL)
            break
    return bytes(kept)


async def _kill(process: Process) -> None:
    """First politely: git takes its lock files and half a pack away."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _prefix(
    without_network: bool, memory_limit_bytes: int, file_limit_bytes: int, timeout_s: float
) -> list[str]:
    prefix: list[str] = []
    if setpriv := _found("setpriv"):
        prefix += [setpriv, "--pdeathsig", "KILL", "--"]
    if without_network and (unshare := _unshare()):
        prefix += [unshare, "--map-root-user", "--net", "--"]
    limits: list[str] = []
    if memory_limit_bytes:
        limits += [
            f"ulimit -v {memory_limit_bytes // 1024}",
            f"ulimit -t {int(timeout_s) + 1}",
            "ulimit -c 0",
        ]
    if file_limit_bytes:
        limits.append(f"ulimit -f {file_limit_bytes // _BLOCK_BYTES}")
    if limits:
        prefix += ["/bin/sh", "-c", f'{"; ".join(limits)}; exec "$@"', "sh"]
    return prefix


@cache
def _found(program: str) -> str | None:
    return shutil.which(program)


@cache
def _unshare() -> str | None:
    """The `unshare` program, if this machine lets us use it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    pid = os.posix_spawn(
        unshare,
        [unshare, "--map-root-user", "--net", "--", "true"],
        {"PATH": os.defpath},
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    return unshare if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else None
