"""The Git repository of the demo: real files, real commits, on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from fleetbus.schemas.errors import ServerFailed

SAMPLE = Path(__file__).with_name("shop")
_TIMEOUT_S = 30.0


class Repository:
    """A working tree with a branch `main`. Made afresh from the sample with `create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def url(self) -> str:
        return str(self.folder)

    async def create(self) -> None:
        """The sample as the first commit; what was in the folder before is gone."""
        await asyncio.to_thread(self._copy)
        await self._git("init", "--quiet", "--initial-branch=main")
        await self.commit("the shop as it was")

    async def create_empty(self) -> None:
        """Nothing yet but the branch; the first commit is the caller's."""
        self.folder.mkdir(parents=True)
        await self._git("init", "--quiet", "--initial-branch=main")

    def read(self, path: str) -> str:
        """Raises ServerFailed when a step before has left the file out."""
        try:
            return (self.folder / path).read_text()
        except OSError as cause:
            raise ServerFailed(f"{path} is not in the repository", where=str(self.folder)) from cause

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        """`new` for `old` in one file. Raises ServerFailed when the file says something else."""
        text = self.read(path)
        if old not in text:
            raise ServerFailed(f"{path} does not hold `{old}`", where=str(self.folder))
        self.write(path, text.replace(old, new))

    def remove(self, path: str) -> None:
        target = self.folder / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    async def commit(self, message: str) -> str:
        """Everything as it lies there; the commit's id."""
        await self._git("add", "--all")
        await self._git("commit", "--quiet", "--message", message)
        return (await self._git("rev-parse", "HEAD")).strip()

    async def revert(self) -> str:
        """Take the last commit back with another one; its id."""
        await self._git("revert", "--no-edit", "HEAD")
        return (await self._git("rev-parse", "HEAD")).strip()

    def _copy(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(SAMPLE, self.folder)

    async def _git(self, *words: str) -> str:
        who = (
            "-c",
            "user.name=Fleetbus demo",
            "-c",
            "user.email=demo@example.com",
            "-c",
            "commit.gpgsign=false",
        )
        # Neither the user's settings nor his hooks belong in a demo.
        bare = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        child = await asyncio.create_subprocess_exec(
            "git",
            *who,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), **bare},
        )
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await child.communicate()
        if child.returncode:
            lines = err.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise ServerFailed(
                f"git {words[0]} ended with {child.returncode}: {lines[-1]}", where=str(self.folder)
            )
        return out.decode()
