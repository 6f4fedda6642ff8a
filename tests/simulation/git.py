"""A repository in memory: commits of folders of objects, read and rendered as the controller asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from fleetbus.controller.capabilities.bundles.canonical import Found, canonicalise
from fleetbus.controller.capabilities.bundles.render import Input, Rendered
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.capabilities.sources import Git, SourceDetails
from fleetbus.schemas.errors import NotFound, SourceUnreachable

Objects = tuple[Mapping[str, Any], ...]
Tree = Mapping[str, Objects]
"""Folder → its objects. A folder that is not in it is not there; an empty one holds nothing."""

ADDRESS = "https://git.example/fleet.git"


class Repository:
    """One branch. `unreachable`: the share of reads that fail; `away`: all of them do."""

    def __init__(self, clock: Clock, chance: Random) -> None:
        self.unreachable = 0.0
        self.away = False
        self.commits: dict[str, Tree] = {}
        self.newest = ""
        self._clock = clock
        self._chance = chance

    def commit(self, tree: Tree) -> str:
        self.newest = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[self.newest] = dict(tree)
        return self.newest

    @property
    def tree(self) -> Tree:
        return self.commits[self.newest]

    async def read(
        self, git: Git, work_dir: Path, credentials_dir: Path | None, known: SourceDetails
    ) -> SourceDetails:
        await self._answer()
        return SourceDetails(
            ref="main", commit=self.newest, author="ana", subject=f"commit {self.newest[:8]}"
        )

    async def render(self, wanted: Input, work_dir: Path) -> Rendered:
        await self._answer()
        tree = self.commits.get(wanted.commit)
        if tree is None or wanted.path not in tree:
            raise NotFound(f"there is no folder `{wanted.path}`")
        found = [Found(one, f"{place}.yaml:1") for place, one in enumerate(tree[wanted.path])]
        objects = canonicalise(found, wanted.namespace)
        return Rendered(artifact({"objects": objects}), len(objects))

    async def _answer(self) -> None:
        await self._clock.sleep(self._clock.jitter(0.05))
        if self.away or self._chance.random() < self.unreachable:
            raise SourceUnreachable("the repository does not answer", where=ADDRESS)
