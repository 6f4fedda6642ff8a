"""Commits of the bench to a repository of this machine."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.local.demo.repository import Repository


async def commit(repository: Repository, files: Mapping[str, str], message: str) -> str:
    """Write these files and commit; the commit's id."""
    for path, text in files.items():
        repository.write(path, text)
    return await repository.commit(message)
