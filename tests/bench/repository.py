"""A Git repository of this machine that the bench commits to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from fleetbus.schemas.errors import ServerFailed

_WHO = ("-c", "user.name=Fleetbus bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false")
_TIMEOUT_S = 30.0


class Repository:
    """A working tree with a branch `main`, empty at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def create(self) -> None:
        self.folder.mkdir(parents=True)
        await self._git("init", "--quiet", "--initial-branch=main")

    async def commit(self, files: Mapping[str, str], message: str) -> str:
        """Write these files and commit; the commit's id."""
        for path, text in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        await self._git("add", "--all")
        await self._git("commit", "--quiet", "--message", message)
        return (await self._git("rev-parse", "HEAD")).strip()

    async def _git(self, *words: str) -> str:
        bare = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        child = await asyncio.create_subprocess_exec(
            *("git", *_WHO, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), **bare},
        )
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await child.communicate()
        if child.returncode:
            raise ServerFailed(
                f"git {words[0]} ended with {child.returncode}: {err.decode(errors='replace')[:300]}"
            )
        return out.decode()
