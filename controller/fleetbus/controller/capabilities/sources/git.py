"""Which commit a Source's ref names now, and that commit in the cache. Through the git command."""

from __future__ import annotations

import asyncio
import base64
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fleetbus.controller import repository as cache
from fleetbus.controller.programs import Ended
from fleetbus.schemas.capabilities.sources import Git, SourceDetails
from fleetbus.schemas.errors import RevisionNotFound, SettingsInvalid, SourceUnreachable

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_NO_PACK = "invalid index-pack output"
_NOT_BY_COMMIT = ("unadvertised object", "not our ref", "does not allow request")


@dataclass(frozen=True, slots=True)
class Access:
    """How a repository is reached: what goes into git's environment, and what never into a message."""

    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    hide: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """A ref of the remote repository, by the short name that a revision shows."""

    ref: str
    commit: str
    full: str


async def read_revision(
    git: Git, work_dir: Path, credentials_dir: Path | None, known: SourceDetails
) -> SourceDetails:
    """The commit that the ref names now, fetched; `known` itself when it is still that one.

    Raises RevisionNotFound, SourceUnreachable, SettingsInvalid (credentials), TimeoutExpired.
    """
    access = await asyncio.to_thread(read_access, git, credentials_dir)
    repository = cache.repository_dir(work_dir, git)
    async with cache.fetching(repository):
        await cache.initialise(repository)
        remote = await _look_up(repository, git, access)
        if not await cache.has_commit(repository, remote.commit):
            remote = await _fetch(repository, git, remote, access)
        if (known.ref, known.commit) == (remote.ref, remote.commit):
            return known
        return await _describe(repository, remote)


async def check_local(git: Git, local_sources: Sequence[Path]) -> None:
    """SettingsInvalid for a repository on this machine that lies in none of these folders, links followed."""
    if git.url.startswith("/"):
        path = Path(git.url)
    elif git.url.startswith("file://"):
        parts = urlsplit(git.url)
        if parts.netloc or parts.query or parts.fragment:
            raise SettingsInvalid("the address names no path", where=git.url, remedy="write file:///PATH")
        path = Path(unquote(parts.path))
    else:
        return
    if not await asyncio.to_thread(_lies_in_one, path, local_sources):
        raise SettingsInvalid(
            "the controller reads no repository there",
            where=git.url,
            remedy="name a folder above it under `localSources` in the controller's settings",
        )


def _lies_in_one(path: Path, folders: Sequence[Path]) -> bool:
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder.resolve()) for folder in folders)


def read_access(git: Git, credentials_dir: Path | None) -> Access:
    """The credentials file `NAME@HOST`: `user:password` or a token for https, a private key for ssh.

    They go through git's environment and never through its arguments, and to the address's host only: whoever
    put the file there has said by its name which host that may be.
    """
    if git.credentials is None:
        return Access({"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"})
    where = "spec.git.credentials"
    if credentials_dir is None:
        raise SettingsInvalid("the controller has no folder of Git credentials", where=where)
    parts = urlsplit(git.url)
    if parts.scheme not in ("https", "ssh"):
        raise SettingsInvalid("only https:// and ssh:// take credentials", where=where)
    name = f"{git.credentials}@{parts.netloc.rpartition('@')[2].lower()}"
    path = credentials_dir / name
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            f"there is no readable file `{name}` in the controller's folder of Git credentials",
            where=where,
            remedy="a credential is for the host, and the port if one is given, in the name of its file",
        ) from error
    if parts.scheme == "ssh":
        command = (
            f"ssh -i {shlex.quote(str(path))} -o IdentitiesOnly=yes -o BatchMode=yes "
            f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={shlex.quote(str(path.parent / 'known_hosts'))}"
        )
        return Access({"GIT_SSH_COMMAND": command})
    if not secret or "\n" in secret:
        raise SettingsInvalid("the file must hold one line: `user:password` or a token", where=where)
    encoded = base64.b64encode(secret.encode()).decode()
    header = f"Authorization: Basic {encoded}" if ":" in secret else f"Authorization: Bearer {secret}"
    extra = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.https://{parts.netloc}/.extraHeader",
        "GIT_CONFIG_VALUE_0": header,
    }
    return Access(extra, (secret, encoded, header, secret.partition(":")[2]))


async def _look_up(repository: Path, git: Git, access: Access) -> Remote:
    """What the remote says; a commit needs no question."""
    if git.ref.commit:
        return Remote("commit", git.ref.commit, git.ref.commit)
    if git.ref.branch:
        return _named(
            await _refs(repository, git, access, "--heads"), "refs/heads/", git.ref.branch, "branch"
        )
    if git.ref.tag:
        return _named(await _refs(repository, git, access, "--tags"), "refs/tags/", git.ref.tag, "tag")
    refs = await _refs(repository, git, access, "--symref", after=("HEAD",))
    if "HEAD" not in refs:
        raise RevisionNotFound(
            "the repository has no HEAD", remedy="push a commit, or name a branch in spec.git.ref"
        )
    full = refs.get("ref: HEAD", "HEAD")
    return Remote(full.removeprefix("refs/heads/"), refs["HEAD"], full)


async def _refs(
    repository: Path, git: Git, access: Access, *options: str, after: tuple[str, ...] = ()
) -> dict[str, str]:
    """Ref → commit, tags peeled; with `--symref` also `ref: HEAD` → the ref that it names."""
    ended = await cache.git(
        repository,
        "ls-remote",
        "--quiet",
        *options,
        "--",
        git.url,
        *after,
        extra=access.extra,
        hide=access.hide,
    )
    if ended.code != 0:
        raise _unreachable(git, ended)
    refs: dict[str, str] = {}
    for line in ended.output.decode(errors="replace").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            refs[f"ref: {name}"] = value.removeprefix("ref: ")
        elif _COMMIT.fullmatch(value):
            # `v1^{}` is what an annotated tag points to, and comes after it.
            refs[name.removesuffix("^{}")] = value
    return refs


def _named(refs: Mapping[str, str], prefix: str, name: str, word: str) -> Remote:
    if commit := refs.get(prefix + name):
        return Remote(name, commit, prefix + name)
    names = [ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or sorted(names)[:3]
    raise RevisionNotFound(
        f"there is no {word} `{name}` in the repository",
        where=f"spec.git.ref.{word}",
        remedy=f"did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else f"it has no {word}",
    )


async def _fetch(repository: Path, git: Git, remote: Remote, access: Access) -> Remote:
    """The commit alone; where the server gives none by its name, the ref, which may have moved on."""
    ended = await _run_fetch(repository, git, access, "--depth=1", "--", git.url, remote.commit)
    if ended.code == 0:
        return remote
    if not any(phrase in ended.complaint for phrase in _NOT_BY_COMMIT):
        raise _unreachable(git, ended)
    if remote.full != remote.commit:
        ended = await _run_fetch(
            repository, git, access, "--depth=1", "--", git.url, f"+{remote.full}:refs/fleetbus/ref"
        )
        if ended.code != 0:
            raise _unreachable(git, ended)
        found = await cache.git(repository, "rev-parse", "refs/fleetbus/ref^{commit}")
        return Remote(remote.ref, found.output.decode().strip(), remote.full)
    spaces = ("+refs/heads/*:refs/fleetbus/heads/*", "+refs/tags/*:refs/fleetbus/tags/*")
    ended = await _run_fetch(repository, git, access, "--", git.url, *spaces)
    if ended.code != 0:
        raise _unreachable(git, ended)
    if not await cache.has_commit(repository, remote.commit):
        raise RevisionNotFound(
            f"there is no commit {remote.commit[:12]} in the repository",
            where="spec.git.ref.commit",
            remedy="push it, or name one that a branch or a tag holds",
        )
    return remote


async def _run_fetch(repository: Path, git: Git, access: Access, *arguments: str) -> Ended:
    return await cache.git(
        repository,
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        *arguments,
        extra=access.extra,
        hide=access.hide,
        file_limit_bytes=cache.MAX_PACK_BYTES,
    )


async def _describe(repository: Path, remote: Remote) -> SourceDetails:
    ended = await cache.git(repository, "log", "-1", "--format=%an%x00%s", remote.commit)
    author, _, subject = ended.output.decode(errors="replace").strip().partition("\0")
    return SourceDetails(ref=remote.ref, commit=remote.commit, author=author[:100], subject=subject[:200])


def _unreachable(git: Git, ended: Ended) -> SourceUnreachable:
    if _NO_PACK in ended.complaint:
        limit = f"{cache.MAX_PACK_BYTES // 2**20} MiB"
        return SourceUnreachable(f"what came is broken, or larger than {limit}", where=git.url)
    lines = [line.strip() for line in ended.complaint.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "remote:", "error:"))), "")
    said = (told or (lines[0] if lines else f"git ended with {ended.code}")).removeprefix("fatal: ")
    return SourceUnreachable(said[:300].rstrip("."), where=git.url)
