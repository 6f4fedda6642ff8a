"""A real ssh-agent of a test alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetbus.runtime.clock import SystemClock
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True)
class SshAgent:
    socket: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SSH_AUTH_SOCK": str(self.socket)}

    async def add(self, comment: str, kind: str = "ed25519") -> None:
        """A new key of this kind."""
        file = self.folder / f"{kind}-{comment.replace('@', '-')}"
        await self._run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(file))
        await self._run("ssh-add", "-q", str(file))

    async def remove_all(self) -> None:
        await self._run("ssh-add", "-q", "-D")

    async def fingerprints(self) -> list[str]:
        return [line.split()[1] for line in (await self._run("ssh-add", "-l")).splitlines()]

    async def _run(self, *words: str) -> str:
        environment = {"SSH_AUTH_SOCK": str(self.socket), "PATH": "/usr/bin:/bin"}
        child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, env=environment)
        out, _ = await child.communicate()
        assert child.returncode == 0, words
        return out.decode()


@asynccontextmanager
async def ssh_agent(folder: Path) -> AsyncIterator[SshAgent]:
    """Ended with the context. Its socket lies in a folder of its own: its path must be short."""
    with tempfile.TemporaryDirectory(prefix="fb-ssh-") as place:
        socket = Path(place) / "agent"
        child = await asyncio.create_subprocess_exec(
            "ssh-agent", "-D", "-a", str(socket), stdout=asyncio.subprocess.DEVNULL
        )
        try:

            async def listens() -> bool:
                return await asyncio.to_thread(socket.exists)

            assert await wait_until(listens, SystemClock(), 10)
            yield SshAgent(socket, folder)
        finally:
            child.terminate()
            await child.wait()
