"""The README's commands for a real cluster, as they stand there, against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetbus.local.factories import BaoFactory, ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.ports import free_port
from fleetbus.local.processes import Processes
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.clock import SystemClock
from tests.waiting import wait_until

README = Path(__file__).parents[2] / "README.md"
CLOCK = SystemClock()
PROGRAMS = Path(sys.executable).parent
SECRET = "/api/v1/namespaces/payments/secrets/db"
DEPLOYMENT = "/apis/apps/v1/namespaces/fleetbus-system/deployments/fleetbus-agent"
_COMMAND_S = 120.0


def section(title: str) -> str:
    """What stands below a heading of the README."""
    return README.read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(title: str) -> list[str]:
    """The lines to type, continued ones as one, without what is said beside them."""
    indented = re.findall(
        r"(?m)^ {4}(\S.*|\s+--.*)$", re.sub(r"```.*?```", "", section(title), flags=re.DOTALL)
    )
    joined = "\n".join(indented).replace("\\\n", " ")
    return [re.sub(r"\s+#.*$", "", line) for line in joined.splitlines()]


def document(title: str) -> str:
    return str(re.findall(r"```yaml\n(.*?)```", section(title), flags=re.DOTALL)[0])


@dataclass
class Terminal:
    """A folder and variables in which commands are typed; `names`: what stands in the README → what is here."""

    folder: Path
    processes: Processes
    names: Mapping[str, str]
    variables: dict[str, str] = field(default_factory=dict)

    async def type(self, line: str, *, answer: str = "") -> str:
        """One line to its end; what it wrote. With `answer` somebody sits at the terminal."""
        for name, here in self.names.items():
            line = line.replace(name, here)
        if line.startswith("export "):
            self.variables |= dict(one.split("=", 1) for one in shlex.split(line)[1:])
            return ""
        words = shlex.split(line)
        if words[-1] == "&":
            await self.processes.start(
                f"readme-{words[0]}", words[:-1], env=self._environment(), cwd=self.folder
            )
            return ""
        outer, inner = pty.openpty()
        try:
            child = await asyncio.create_subprocess_exec(
                *words,
                stdin=inner if answer else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=self._environment(),
                cwd=self.folder,
            )
            os.write(outer, f"{answer}\n".encode())
            async with asyncio.timeout(_COMMAND_S):
                out, _ = await child.communicate()
        finally:
            os.close(outer)
            os.close(inner)
        assert child.returncode == 0, f"{line}\n{out.decode()}"
        return out.decode()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder),
            **self.variables,
        }


@pytest.fixture
async def cluster(new_control_plane: ControlPlaneFactory) -> ControlPlane:
    return await new_control_plane()


@pytest.fixture
async def bao(new_openbao: BaoFactory) -> OpenBao:
    return await new_openbao()


@pytest.fixture
async def terminal(
    cluster: ControlPlane, bao: OpenBao, log_dir: Path, tmp_path: Path
) -> AsyncIterator[Terminal]:
    """What somebody has who begins: a context of the cluster, the owner's token of Vault, its authority."""
    kubeconfig = json.loads(cluster.kubeconfig.read_text())
    kubeconfig["contexts"][0]["name"] = "prod-us"
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    (tmp_path / "vault-ca.crt").write_bytes(bao.ca_file.read_bytes())
    (tmp_path / "password").write_text("correct horse")
    (tmp_path / "payments-db.yaml").write_text(document("Secrets"))
    for name in ("owner.token", ".vault-token"):
        (tmp_path / name).write_text(bao.root_token)
    names = {
        "--host bus.example.com": f"--host 127.0.0.1 --port {free_port()}",
        "https://vault.example.com:8200": bao.address,
        "IMAGE": "registry.example.com/fleetbus-agent:test",
    }
    variables = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "VAULT_ADDR": bao.address,
        "VAULT_CACERT": str(bao.ca_file),
    }
    async with Processes(log_dir / "readme") as processes:
        yield Terminal(tmp_path, processes, names, variables)


async def test_a_cluster_joins_and_gets_a_secret_as_the_readme_says(
    terminal: Terminal, cluster: ControlPlane
) -> None:
    *before, joining = commands("Join a real cluster")
    for line in before:
        await terminal.type(line)
    async with AsyncExitStack() as stack:
        typing = asyncio.create_task(terminal.type(joining))
        stack.callback(typing.cancel)
        assert await wait_until(_or_ended(typing, cluster, DEPLOYMENT), CLOCK, 60)
        if not typing.done():
            await _be_the_kubelet(stack, terminal, cluster)
        said = await typing
        assert "cluster/prod-us enrolled" in said
        assert "Vault has the mount auth/fleet_main_prod-us" in said
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}}
        await cluster.admin.create("/api/v1/namespaces", namespace)
        *before, revoking = commands("Secrets")
        for line in before:
            await terminal.type(line)
        assert await cluster.admin.exists(SECRET)
        assert "Removed" in await terminal.type(revoking, answer="payments-db")
        assert not await cluster.admin.exists(SECRET)


def _or_ended(typing: asyncio.Task[str], cluster: ControlPlane, path: str) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return typing.done() or await cluster.admin.exists(path)

    return there


async def _be_the_kubelet(stack: AsyncExitStack, terminal: Terminal, cluster: ControlPlane) -> None:
    """The Deployment is there, and no node to run its pod: run what it would, with what it would find."""
    folder = terminal.folder / "pod"
    await stack.enter_async_context(AgentFolder(cluster, folder))
    deployed = await cluster.admin.get(DEPLOYMENT)
    (container,) = deployed["spec"]["template"]["spec"]["containers"]
    program, *words = container["command"]
    argv = [PROGRAMS / program, *words, "--folder", folder]
    await terminal.processes.start("readme-agent", argv, env={"PATH": os.defpath}, cwd=terminal.folder)
