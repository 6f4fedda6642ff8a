"""A fetch that is killed, or too large, hinders no later one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fleetbus.controller import repository as cache
from fleetbus.controller.capabilities.sources.git import read_revision
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.sources import Git, SourceDetails
from fleetbus.schemas.errors import SourceUnreachable
from tests.integration.sources.repositories import Repository, config_map
from tests.waiting import wait_until

NOTHING = SourceDetails()


def source(repository: Repository) -> Git:
    return Git.model_validate({"url": repository.url, "ref": {"branch": "main"}})


def hold_up_packs(work_dir: Path, hook: Path) -> Path:
    """Let the remote's side wait before it sends a pack; the file that ends this when it is taken away."""
    hook.write_text(f"#!/bin/sh\n: > {hook}.asked\nexec sleep 600\n")
    hook.chmod(0o755)
    config = work_dir / "git" / "config"
    config.write_text(config.read_text() + f"[uploadpack]\n\tpackObjectsHook = {hook}\n")
    return config


async def test_a_fetch_killed_in_the_middle_leaves_nothing_that_hinders(
    repository: Repository, work_dir: Path, tmp_path: Path
) -> None:
    git, folder = source(repository), cache.repository_dir(work_dir, source(repository))
    repository.commit({"a.yaml": config_map("a")})
    await read_revision(git, work_dir, None, NOTHING)
    second = repository.commit({"b.yaml": config_map("b")})
    config = hold_up_packs(work_dir, tmp_path / "hook")
    fetching = asyncio.create_task(read_revision(git, work_dir, None, NOTHING))

    async def in_the_middle() -> bool:
        return (tmp_path / "hook.asked").exists() and (folder / "shallow.lock").exists()

    assert await wait_until(in_the_middle, SystemClock(), 10)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert not (folder / "shallow.lock").exists()

    config.unlink()
    assert (await read_revision(git, work_dir, None, NOTHING)).commit == second


async def test_what_a_git_that_was_killed_at_once_left_is_taken_away(
    repository: Repository, work_dir: Path
) -> None:
    git, folder = source(repository), cache.repository_dir(work_dir, source(repository))
    repository.commit({"a.yaml": config_map("a")})
    await read_revision(git, work_dir, None, NOTHING)
    left = [
        "shallow.lock",
        "config.lock",
        "shallow_Ab12",
        "refs/fleetbus/ref.lock",
        "objects/pack/tmp_pack_Ab12",
        "objects/ab/tmp_obj_Ab12",
    ]
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")
    second = repository.commit({"b.yaml": config_map("b")})
    assert (await read_revision(git, work_dir, None, NOTHING)).commit == second
    assert [name for name in left if (folder / name).exists()] == []
    assert (folder / "shallow").exists()


async def test_a_fetch_that_would_fill_the_disk_is_ended(
    repository: Repository, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_PACK_BYTES", 64 * 1024)
    (repository.path / "large").write_bytes(os.urandom(1024 * 1024))
    repository.commit({f"{number}.yaml": config_map(f"c{number}") for number in range(120)})
    with pytest.raises(SourceUnreachable, match="larger than"):
        await read_revision(source(repository), work_dir, None, NOTHING)
    monkeypatch.undo()
    assert (await read_revision(source(repository), work_dir, None, NOTHING)).commit
