"""A folder of a commit → canonical objects → an artifact; once for each distinct input."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fleetbus.controller import repository
from fleetbus.controller.capabilities.bundles.canonical import Found, canonicalise
from fleetbus.controller.capabilities.bundles.render.kustomize import is_kustomization, render_kustomization
from fleetbus.controller.capabilities.bundles.render.plain import read_manifests
from fleetbus.schemas.artifacts import Artifact, artifact
from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.capabilities.sources import Git
from fleetbus.schemas.errors import MessageMalformed, ObjectInvalid, Terminal

RENDERING = 1
"""Counted up when the same input is to give other objects: bundles are then rendered again."""
MAX_BYTES = 32 * 1024 * 1024
_KEPT = 16


@dataclass(frozen=True, slots=True)
class Input:
    """All that objects depend on, and where to read it."""

    git: Git
    commit: str
    path: str
    namespace: str

    @property
    def digest(self) -> str:
        return digest(canonical([RENDERING, self.commit, self.path, self.namespace]))


@dataclass(frozen=True, slots=True)
class Rendered:
    artifact: Artifact
    objects: int


Render = Callable[[Input, Path], Awaitable[Rendered]]
"""(input, work folder). Raises NotFound (no such folder), SourceUnreachable (not fetched yet), ObjectInvalid,
RenderFailed, TimeoutExpired."""

EMPTY = Rendered(artifact({"objects": []}), 0)


async def render_from_git(wanted: Input, work_dir: Path, *, without_isolation: bool = False) -> Rendered:
    """Plain YAML, or what a kustomization builds; `without_isolation` also where it may reach the network."""
    place = repository.repository_dir(work_dir, wanted.git)
    path = "" if wanted.path in ("", ".") else wanted.path.strip("/").removeprefix("./")
    files = await repository.read_folder(place, wanted.commit, path)
    if is_kustomization(files):
        whole = await repository.read_folder(place, wanted.commit) if path else files
        found = await render_kustomization(
            whole, path, work_dir / "render", without_isolation=without_isolation
        )
        return await asyncio.to_thread(_pack, found, wanted.namespace)
    return await asyncio.to_thread(_render_plain, files, path, wanted.namespace)


def _render_plain(files: repository.Files, path: str, namespace: str) -> Rendered:
    return _pack(read_manifests(files, path), namespace)


def _pack(found: list[Found], namespace: str) -> Rendered:
    objects = canonicalise(found, namespace)
    try:
        made = artifact({"objects": objects})
    except MessageMalformed as error:
        raise ObjectInvalid("an object holds a value that JSON cannot say") from error
    if len(made.content) > MAX_BYTES:
        raise Terminal(f"the objects have more than {MAX_BYTES // 2**20} MiB", remedy="make several bundles")
    return Rendered(made, len(objects))


class Renderings:
    """The last renderings of this process, good and failed, so that bundles with one input share it."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._done: OrderedDict[str, Rendered | Terminal] = OrderedDict()
        self._running: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(2)

    async def once(self, wanted: Input, work_dir: Path, *, afresh: bool = False) -> Rendered:
        """As `Render`; a second caller waits for the first. `afresh` forgets what is known of this input."""
        key = wanted.digest
        if afresh:
            self._done.pop(key, None)
        lock = self._running.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if key not in self._done:
                    await self._make(key, wanted, work_dir)
                self._done.move_to_end(key)
                found = self._done[key]
        finally:
            if not lock.locked():
                self._running.pop(key, None)
        if isinstance(found, Terminal):
            # Without the frames of the last time, or they would pile up.
            raise found.with_traceback(None)
        return found

    async def _make(self, key: str, wanted: Input, work_dir: Path) -> None:
        try:
            async with self._room:
                self._done[key] = await self._render(wanted, work_dir)
        except Terminal as error:
            self._done[key] = error
        while len(self._done) > _KEPT:
            self._done.popitem(last=False)
