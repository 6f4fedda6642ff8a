"""The cache of Git repositories: one bare repository an address, from which folders of a commit are read.

Sources fetch into it, bundles read from it. Everything in it can be fetched again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from fleetbus.controller.programs import Ended, run_program
from fleetbus.schemas.capabilities.sources import Git
from fleetbus.schemas.errors import NotFound, ObjectInvalid, RenderFailed, SourceUnreachable

TIMEOUT_S = 60.0
MAX_FILES = 20_000
MAX_FOLDER_BYTES = 128 * 1024 * 1024
MAX_PACK_BYTES = 1024 * 1024 * 1024
"""What one fetch may bring."""
MAX_PACKS = 200
"""Each fetch leaves one; a repository with more is fetched afresh."""
_PASSED_ON = ("PATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "GIT_SSL_CAINFO")
_CONFIG = """# Every git process of the controller reads this and nothing else.
[safe]
\tdirectory = *
[protocol]
\tallow = never
[protocol "https"]
\tallow = always
[protocol "ssh"]
\tallow = always
[protocol "file"]
\tallow = always
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 30
[gc]
\tauto = 0
[maintenance]
\tauto = false
[core]
\thooksPath = /dev/null
[fetch]
\twriteCommitGraph = false
"""

_LEFT_BEHIND = (
    "*.lock",
    "shallow_*",
    "refs/**/*.lock",
    "objects/pack/tmp_*",
    "objects/*/tmp_obj_*",
)
"""What a git that was killed leaves in a bare repository: locks hinder every later fetch, the rest fills the disk."""

_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in a repository."""

    target: str


Files = Mapping[str, bytes | Link]
"""Path below the folder that was read → content."""


def repository_dir(work_dir: Path, git: Git) -> Path:
    """Where the repository is kept; by address and credentials, so that nobody reads with another's."""
    name = hashlib.sha256(f"{git.url}\0{git.credentials or ''}".encode()).hexdigest()[:32]
    return work_dir / "git" / name


def fetching(repository: Path) -> asyncio.Lock:
    """One fetch a repository at a time."""
    return _locks.setdefault(str(repository), asyncio.Lock())


async def initialise(repository: Path) -> None:
    """A bare repository, made when it is missing, and made anew when it has grown by many fetches.

    Only under `fetching`: whatever lock of git's is found then has no owner any more.
    """
    if await asyncio.to_thread(_prepare, repository):
        return
    ended = await git(repository, "init", "--quiet", "--bare", "--template=", ".")
    if ended.code != 0:
        raise SourceUnreachable(f"the cache cannot be written: {ended.complaint[:200]}")


def _prepare(repository: Path) -> bool:
    """The folder and git's configuration beside it; whether there is a repository in it already."""
    if len(list(repository.glob("objects/pack/*.pack"))) > MAX_PACKS:
        shutil.rmtree(repository, ignore_errors=True)
    for pattern in _LEFT_BEHIND:
        for left in repository.glob(pattern):
            left.unlink(missing_ok=True)
    repository.mkdir(parents=True, exist_ok=True)
    config = repository.parent / "config"
    if not config.exists():
        # Another repository's git may read it at this moment: it appears whole.
        draft = repository / "config.draft"
        draft.write_text(_CONFIG)
        draft.replace(config)
    return (repository / "HEAD").exists()


def environment(repository: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that git gets: no configuration of the machine or a user, no prompt."""
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    return {
        "PATH": os.defpath,
        **passed,
        "HOME": str(repository.parent),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(repository.parent / "config"),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_DIR": str(repository),
        **(extra or {}),
    }


async def git(
    repository: Path,
    *arguments: str,
    extra: Mapping[str, str] | None = None,
    hide: tuple[str, ...] = (),
    timeout_s: float = TIMEOUT_S,
    output_limit_bytes: int = 16 * 1024 * 1024,
    file_limit_bytes: int = 0,
) -> Ended:
    """One run of git in the repository. Raises TimeoutExpired, ObjectInvalid."""
    return await run_program(
        ["git", *arguments],
        environment=environment(repository, extra),
        folder=repository,
        timeout_s=timeout_s,
        output_limit_bytes=output_limit_bytes,
        file_limit_bytes=file_limit_bytes,
        hide=hide,
    )


async def has_commit(repository: Path, commit: str) -> bool:
    if not await asyncio.to_thread((repository / "HEAD").exists):
        return False
    return (await git(repository, "cat-file", "-e", f"{commit}^{{commit}}")).code == 0


async def read_folder(repository: Path, commit: str, path: str = "") -> Files:
    """Every file below `path` at `commit`.

    Raises NotFound (no such folder in the commit), SourceUnreachable (the commit is not in the cache yet),
    ObjectInvalid (too many or too large files), TimeoutExpired.
    """
    folder = path.strip("/").removeprefix("./")
    folder = "" if folder == "." else folder
    tree = f"{commit}:{folder}"
    fetched = await asyncio.to_thread((repository / "HEAD").exists)
    kind = await git(repository, "cat-file", "-t", tree) if fetched else None
    if kind is None or kind.code != 0 or kind.output.strip() != b"tree":
        if not await has_commit(repository, commit):
            raise SourceUnreachable(f"commit {commit[:7]} has not been fetched yet")
        raise NotFound(f"there is no folder `{folder}` at {commit[:7]}", where=folder)
    ended = await git(
        repository, "archive", "--format=tar", tree, output_limit_bytes=MAX_FOLDER_BYTES + 64 * 1024 * 1024
    )
    if ended.code != 0:
        raise RenderFailed(f"git archive: {ended.complaint[:200]}", where=folder)
    return await asyncio.to_thread(_unpack, ended.output, folder)


def _unpack(archive: bytes, folder: str) -> Files:
    files: dict[str, bytes | Link] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                total += member.size
                if len(files) >= MAX_FILES or total > MAX_FOLDER_BYTES:
                    raise ObjectInvalid(
                        f"more than {MAX_FILES} files or {MAX_FOLDER_BYTES // 2**20} MiB", where=folder
                    )
                if member.issym():
                    files[member.name] = Link(member.linkname)
                elif member.isfile() and (content := tar.extractfile(member)) is not None:
                    files[member.name] = content.read()
    except tarfile.TarError as error:
        raise RenderFailed("git archive gave no archive", where=folder) from error
    return files
