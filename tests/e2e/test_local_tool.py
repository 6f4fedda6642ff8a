"""`fleetbus local` as a tool of its own: up, status, env, logs, down, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from fleetbus.local.record import read
from fleetbus.runtime.clock import SystemClock
from tests.waiting import wait_until

COMMAND = Path(sys.executable).with_name("fleetbus")


class Tool:
    """Runs `fleetbus local` with a folder of state of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.dir = home / "fleetbus" / "local"

    async def shell(self, line: str, timeout_s: float = 180) -> tuple[int, str]:
        """A line of sh; exit code and everything that it said. Too late, it is interrupted."""
        child = await asyncio.create_subprocess_exec(
            *("sh", "-c", line),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "XDG_STATE_HOME": str(self.home),
                "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
            },
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, _ = await child.communicate()
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGTERM)
                await child.wait()
        text = out.decode()
        assert "Traceback" not in text, text
        return child.returncode or 0, text


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


async def test_up_env_status_logs_and_down(tool: Tool) -> None:
    code, out = await tool.shell("fleetbus local up --clusters dev-eu")
    try:
        assert code == 0, out
        assert "ready after" in out
        assert "local env" in out
        await _speak(tool)
        await _come_back(tool)
        code, out = await tool.shell("fleetbus local up --clusters dev-eu,prod-us")
        assert code == 1, out
        assert "runs already" in out
        pids = [one.pid for one in read(tool.dir).processes]
    finally:
        code, out = await tool.shell("fleetbus local down")
    assert code == 0, out
    assert await wait_until(lambda: _none_alive(pids), SystemClock(), timeout_s=10)
    assert not tool.dir.exists()
    assert (await tool.shell("fleetbus local down")) == (0, "No local fleet runs.\n")


async def _speak(tool: Tool) -> None:
    """Everything that `env` promises works beside it."""
    with_env = 'eval "$(fleetbus local env)"; '
    code, out = await tool.shell(with_env + "fleetbus get clusters -o name")
    assert (code, out) == (0, "cluster/dev-eu\n"), out
    code, out = await tool.shell(with_env + "kubectl --context dev-eu get nodes -o name")
    assert code == 0, out
    assert "node/node-0" in out
    code, out = await tool.shell(
        with_env + "bao kv put secret/shared/x value=1 && bao token lookup -format=json"
    )
    assert code == 0, out
    code, out = await tool.shell(with_env + 'test -r "$NATS_CREDS" -a -r "$NATS_CA" && echo "$NATS_URL"')
    assert code == 0, out
    code, out = await tool.shell("fleetbus local status")
    assert code == 0, out
    for name in ("nats", "openbao", "controller", "dev-eu-agent", "dev-eu-apiserver"):
        assert name in out
    code, out = await tool.shell("fleetbus local logs controller -n 3")
    assert code == 0, out
    code, out = await tool.shell("fleetbus local logs controler")
    assert code == 1
    assert "did you mean `controller`" in out


async def _come_back(tool: Tool) -> None:
    """What is killed is started again."""
    before = {one.name: one.pid for one in read(tool.dir).processes}
    os.kill(before["controller"], signal.SIGKILL)

    async def again() -> bool:
        found = {one.name: one for one in read(tool.dir).processes}
        return found["controller"].pid != before["controller"] and found["controller"].alive

    assert await wait_until(again, SystemClock(), timeout_s=20)
    code, out = await tool.shell('eval "$(fleetbus local env)"; fleetbus wait cluster/dev-eu --timeout 60s')
    assert code == 0, out


async def _none_alive(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return False
    return True


async def test_nothing_outlives_a_killed_supervisor(tool: Tool) -> None:
    code, out = await tool.shell("fleetbus local up --clusters dev-eu")
    assert code == 0, out
    pids = [one.pid for one in read(tool.dir).processes]

    os.kill(int((tool.dir / "supervisor.lock").read_text()), signal.SIGKILL)

    assert await wait_until(lambda: _none_alive(pids), SystemClock(), timeout_s=10)
    code, out = await tool.shell("fleetbus local status")
    assert code == 1
    assert "fleetbus local up" in out
    assert (await tool.shell("fleetbus local down"))[0] == 0
    assert not tool.dir.exists()


async def test_usage_errors_are_64(tool: Tool) -> None:
    for line in ("fleetbus local up --clusters 7", "fleetbus local upp", "fleetbus local up --cluster a"):
        code, out = await tool.shell(line)
        assert code == 64, out
        assert len(out.splitlines()) <= 4, out


async def test_the_demo_plays_and_leaves_nothing(tool: Tool) -> None:
    demo = f"{sys.executable} -m fleetbus.local.demo --exit --clusters dev-eu,prod-us"
    code, out = await tool.shell(demo, timeout_s=400)

    print(out)
    assert code == 0, out
    assert "\x1b" not in out
    assert "FAIL" not in out
    assert not (tool.home / "fleetbus" / "demo" / "clusters").exists()
    assert json.dumps(out).count("ok") > 12
