"""No server outlives who started it, and one that ends early is named with its log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from fleetbus.local.build import Binaries
from fleetbus.local.detached import end, find, spawn, wait_up
from fleetbus.local.processes import Processes, tail
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import AlreadyExists, ServerFailed, TimeoutExpired
from tests.waiting import wait_until

_PARENT = """
import asyncio, sys
from pathlib import Path
from fleetbus.local.build import kubernetes_binaries
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.nodes import Nodes
from fleetbus.local.processes import Processes

async def main(dir: Path) -> None:
    binaries = await kubernetes_binaries()
    async with Processes(dir / "logs") as processes:
        async with ControlPlane(processes, dir / "c", binaries, "c", nodes=Nodes(count=1)) as cluster:
            # One more, that has a child of its own, which the kernel's promise does not cover.
            family = await processes.start("family", ["sh", "-c", "sleep 1000 & echo $!; wait"])
            names = ("etcd", "apiserver", "controller-manager", "scheduler", "kwok")
            pids = [cluster.process(name).pid for name in names] + [family.pid]
            while not family.log.read_text().strip():
                await asyncio.sleep(0.01)
            print(*pids, family.log.read_text().strip(), flush=True)
            await asyncio.sleep(1000)

asyncio.run(main(Path(sys.argv[1])))
"""

_SUPERVISOR = """
import asyncio, signal, sys
from pathlib import Path
from fleetbus.local.detached import supervising
from fleetbus.local.processes import Processes

async def main(dir: Path) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with supervising(dir), Processes(dir / "logs") as processes:
        server = await processes.start("server", ["sleep", "1000"])
        (dir / "ready").write_text(str(server.pid))
        await asked.wait()

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_parent_killed_with_9_leaves_no_server(binaries: Binaries, tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(120):
        pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == 7
    assert all(_alive(pid) for pid in pids)

    parent.kill()
    await parent.wait()

    async def all_gone() -> bool:
        return not any(_alive(pid) for pid in pids)

    assert await wait_until(all_gone, SystemClock(), timeout_s=10)


async def test_a_server_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with Processes(tmp_path) as processes:
        server = await processes.start("broken", ["sh", "-c", "echo it is over; exit 3"])
        with pytest.raises(ServerFailed, match="broken ended with code 3: it is over") as failed:
            await server.wait_ready(never)
    assert str(tmp_path / "broken.log") in failed.value.remedy


async def test_a_server_that_is_never_ready_has_an_end(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with Processes(tmp_path) as processes:
        server = await processes.start("slow", ["sleep", "1000"])
        with pytest.raises(TimeoutExpired, match="slow"):
            await server.wait_ready(never, timeout_s=0.2)


async def test_watching_tells_who_ended_unasked(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        await (await processes.start("asked", ["sleep", "1000"])).stop()
        lost = await processes.start("lost", ["sleep", "1000"])
        watching = asyncio.create_task(processes.watch(every_s=0.02))
        os.kill(lost.pid, signal.SIGKILL)
        with pytest.raises(ServerFailed, match="lost was ended by signal 9"):
            await asyncio.wait_for(watching, 10)


async def test_a_deaf_server_is_killed_in_the_end(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        server = await processes.start("deaf", ["sh", "-c", "trap '' TERM; echo up; sleep 1000 & wait; wait"])
        await server.wait_ready(lambda: _has_said(server.log, "up"))
        await server.stop(grace_s=0.1)
        assert not server.alive


async def test_a_supervisor_in_the_background_is_found_and_ended(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    pid = spawn([sys.executable, "-c", _SUPERVISOR, str(tmp_path)], tmp_path / "log")
    await wait_up(pid, tmp_path / "ready", tmp_path / "log", timeout_s=30)
    server = int((tmp_path / "ready").read_text())

    assert find(tmp_path) == pid
    assert _alive(server)
    assert await end(tmp_path)

    assert find(tmp_path) is None
    assert not _alive(server)
    assert not await end(tmp_path)


async def test_a_folder_has_one_supervisor(tmp_path: Path) -> None:
    pid = spawn([sys.executable, "-c", _SUPERVISOR, str(tmp_path)], tmp_path / "log")
    await wait_up(pid, tmp_path / "ready", tmp_path / "log", timeout_s=30)
    second = spawn([sys.executable, "-c", _SUPERVISOR, str(tmp_path)], tmp_path / "second.log")

    with pytest.raises(ServerFailed, match=AlreadyExists.__name__):
        await wait_up(second, tmp_path / "other", tmp_path / "second.log", timeout_s=30)

    await end(tmp_path)


async def _has_said(log: Path, word: str) -> bool:
    return word in tail(log)


def _alive(pid: int) -> bool:
    """Running, and not just waiting for its parent to hear that it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
