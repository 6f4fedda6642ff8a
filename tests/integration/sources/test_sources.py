"""Sources against real repositories: what a ref names, fetched; what goes wrong, in a sentence."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from fleetbus.controller import repository as cache
from fleetbus.controller.capabilities.sources import CAPABILITY
from fleetbus.controller.capabilities.sources.git import Access, read_access, read_revision
from fleetbus.controller.programs import run_program
from fleetbus.runtime.certificates import issue_server, make_authority
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.sources import FETCHED, Git, SourceDetails
from fleetbus.schemas.errors import NotFound, RevisionNotFound, SettingsInvalid, SourceUnreachable
from tests.integration.sources.repositories import Repository, config_map
from tests.unit.controller.fleet import Desk, stored, types
from tests.waiting import wait_until

NOTHING = SourceDetails()
KEY = ("Source", "platform")


def source(url: str, **ref: str) -> Git:
    return Git.model_validate({"url": url, "ref": ref})


def document(url: str, interval: str = "1m", **ref: str) -> Any:
    return stored("Source", "platform", {"git": {"url": url, "ref": ref}, "interval": interval})


async def test_a_branch_is_read_and_followed(repository: Repository, work_dir: Path) -> None:
    first = repository.commit({"a.yaml": config_map("a")}, "first words")
    found = await read_revision(source(repository.url, branch="main"), work_dir, None, NOTHING)
    assert (found.ref, found.commit, found.author, found.subject) == (
        "main",
        first,
        "Ana Ruiz",
        "first words",
    )
    assert found.revision == f"main@sha1:{first}"
    assert await read_revision(source(repository.url, branch="main"), work_dir, None, found) is found
    second = repository.commit({"a.yaml": config_map("b")}, "second")
    moved = await read_revision(source(repository.url, branch="main"), work_dir, None, found)
    assert (moved.commit, moved.subject) == (second, "second")


async def test_tags_commits_and_head_are_read(repository: Repository, work_dir: Path) -> None:
    first = repository.commit({"a.yaml": config_map("a")})
    repository.git("tag", "--annotate", "v1", "-m", "one")
    repository.git("tag", "light")
    second = repository.commit({"a.yaml": config_map("b")})
    repository.git("checkout", "--quiet", "-b", "trunk")
    for ref, name, commit in [
        ({"tag": "v1"}, "v1", first),
        ({"tag": "light"}, "light", first),
        ({"commit": first}, "commit", first),
        ({"branch": "main"}, "main", second),
        ({}, "trunk", second),
    ]:
        found = await read_revision(source(repository.url, **ref), work_dir, None, NOTHING)
        assert (found.ref, found.commit) == (name, commit)


async def test_a_path_on_the_machine_and_an_older_commit_are_read(
    repository: Repository, work_dir: Path
) -> None:
    first = repository.commit({"a.yaml": config_map("a")})
    repository.commit({"a.yaml": config_map("b")})
    found = await read_revision(source(str(repository.path), commit=first), work_dir, None, NOTHING)
    assert found.commit == first
    git = source(str(repository.path), commit=first)
    files = await cache.read_folder(cache.repository_dir(work_dir, git), first)
    assert files == {"a.yaml": config_map("a").encode()}


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        (
            {"branch": "mian"},
            "spec.git.ref.branch: there is no branch `mian` in the repository; did you mean `main`?",
        ),
        ({"tag": "v2"}, "spec.git.ref.tag: there is no tag `v2` in the repository; did you mean `v1`?"),
        (
            {"commit": "0" * 40},
            "spec.git.ref.commit: there is no commit 000000000000 in the repository; push it",
        ),
    ],
)
async def test_an_unknown_ref_is_named_with_its_neighbours(
    repository: Repository, work_dir: Path, ref: dict[str, str], sentence: str
) -> None:
    repository.commit({"a.yaml": config_map("a")})
    repository.git("tag", "v1")
    with pytest.raises(RevisionNotFound) as raised:
        await read_revision(source(repository.url, **ref), work_dir, None, NOTHING)
    assert raised.value.sentence().startswith(sentence)


async def test_a_server_that_gives_no_commit_by_its_name_gives_its_refs(
    repository: Repository, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_CONFIG", f"{cache._CONFIG}[protocol]\n\tversion = 0\n")
    first = repository.commit({"a.yaml": config_map("a")})
    repository.commit({"a.yaml": config_map("b")})
    found = await read_revision(source(repository.url, commit=first), work_dir, None, NOTHING)
    assert found.commit == first
    with pytest.raises(RevisionNotFound, match="there is no commit 000000000000"):
        await read_revision(source(repository.url, commit="0" * 40), work_dir, None, NOTHING)


async def test_an_empty_or_missing_repository_is_told(repository: Repository, work_dir: Path) -> None:
    with pytest.raises(RevisionNotFound, match="has no HEAD"):
        await read_revision(source(repository.url), work_dir, None, NOTHING)
    with pytest.raises(SourceUnreachable, match=r"does not appear to be a git repository|does not exist"):
        await read_revision(source(f"{repository.url}-gone"), work_dir, None, NOTHING)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_another_user_is_read(repository: Repository, work_dir: Path) -> None:
    repository.commit({"a.yaml": config_map("a")})
    for path in [repository.path, *repository.path.rglob("*")]:
        os.chown(path, 12345, 12345)
    found = await read_revision(source(repository.url, branch="main"), work_dir, None, NOTHING)
    assert found.commit


async def test_a_server_gets_the_credential_and_no_message_shows_it(
    repository: Repository, work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    authority = make_authority("git test", SystemClock().now())
    issued = issue_server(authority, "localhost", ["127.0.0.1", "localhost"], SystemClock().now())
    for name, text in [("ca", authority.certificate), ("cert", issued.certificate), ("key", issued.key)]:
        (tmp_path / f"{name}.pem").write_bytes(text if isinstance(text, bytes) else text.encode())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        told = f"no such thing, {heard[-1].partition('Basic ')[2].partition(chr(13))[0]} ana:hunter2"
        body = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(told)}\r\nConnection: close\r\n\r\n{told}"
        writer.write(body.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    (credentials / f"forge@127.0.0.1:{port}").write_text("ana:hunter2\n")
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
    git = Git.model_validate({"url": f"https://127.0.0.1:{port}/a.git", "credentials": "forge"})
    async with server:
        with pytest.raises(SourceUnreachable) as raised:
            await read_revision(git, work_dir, credentials, NOTHING)
    encoded = base64.b64encode(b"ana:hunter2").decode()
    assert f"Authorization: Basic {encoded}" in heard[0]
    assert "hunter2" not in raised.value.sentence()
    assert encoded not in raised.value.sentence()
    assert not _files_with(work_dir, b"hunter2")


def _files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_missing_credentials_are_named(work_dir: Path, tmp_path: Path) -> None:
    git = Git.model_validate({"url": "https://git.example.com/a.git", "credentials": "forge"})
    with pytest.raises(SettingsInvalid, match="no folder of Git credentials"):
        await read_revision(git, work_dir, None, NOTHING)
    with pytest.raises(SettingsInvalid, match=r"no readable file `forge@git\.example\.com`"):
        await read_revision(git, work_dir, tmp_path, NOTHING)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/a.git",
        "https://git.example.com:8443/a.git",
        "https://git.example.com.evil.example.com/a.git",
        "https://evil.example.com#@git.example.com/a.git",
        "https://evil.example.com?@git.example.com/a.git",
        "ssh://git@evil.example.com/a.git",
        "file:///git.example.com",
    ],
)
def test_a_credential_goes_to_no_other_host_than_its_files_name_says(tmp_path: Path, url: str) -> None:
    (tmp_path / "forge@git.example.com").write_text("ana:hunter2\n")
    (tmp_path / "forge").write_text("ana:hunter2\n")
    with pytest.raises(SettingsInvalid):
        _reach(url, tmp_path)
    for right in (
        "https://git.example.com/a.git",
        "https://Git.Example.com/b",
        "ssh://git@git.example.com/a",
    ):
        assert _reach(right, tmp_path).extra


def _reach(url: str, credentials: Path) -> Access:
    git = Git.model_validate({"url": url, "credentials": "forge"})
    return read_access(git, credentials)


async def test_only_repositories_below_the_folders_of_the_settings_are_read(
    repository: Repository, work_dir: Path, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": config_map("a")})
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(repository.path)
    desk = Desk(CAPABILITY, work_dir, local_sources=(allowed,))
    for url in (
        repository.url,
        str(repository.path),
        f"file://{allowed}/link",
        f"file://{allowed}/%2e%2e/{repository.path.name}",
        f"file://localhost{repository.path}",
    ):
        desk.put(document(url, branch="main"))
        await desk.reconcile(KEY)
        assert desk.verdict(KEY, FETCHED) == ("False", "SourceInvalid"), url
    assert "localSources" in desk.condition(KEY, FETCHED).message or "names no path" in (
        desk.condition(KEY, FETCHED).message
    )
    desk.local_sources = (repository.path.parent,)
    desk.put(document(repository.url, branch="main"))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, FETCHED) == ("True", "Fetched")


async def test_many_at_once_fetch_one_after_the_other(repository: Repository, work_dir: Path) -> None:
    repository.commit({f"{number}.yaml": config_map(f"c{number}") for number in range(50)})
    git = source(repository.url, branch="main")
    found = await asyncio.gather(*(read_revision(git, work_dir, None, NOTHING) for _ in range(8)))
    assert len({one.commit for one in found}) == 1


async def test_a_repository_with_many_fetches_is_made_afresh(
    repository: Repository, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_PACKS", 3)
    git = source(repository.url, branch="main")
    for number in range(8):
        commit = repository.commit({"a.yaml": config_map(f"c{number}")})
        found = await read_revision(git, work_dir, None, NOTHING)
        assert found.commit == commit
        folder = cache.repository_dir(work_dir, git)
        assert len(list(folder.glob("objects/pack/*.pack"))) <= 4


async def test_a_hung_program_is_killed_with_its_children(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath}
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    task = asyncio.create_task(
        run_program(["/bin/sh", "-c", script], environment=environment, folder=tmp_path, timeout_s=30)
    )
    marker = tmp_path / "child"

    async def started() -> bool:
        return marker.exists() and marker.read_text().endswith("\n")

    assert await wait_until(started, SystemClock(), 10)
    child = int(marker.read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_folders_are_read_with_links_and_what_is_not_there_is_said(
    repository: Repository, work_dir: Path
) -> None:
    (repository.path / "apps").mkdir()
    (repository.path / "apps" / "link.yaml").symlink_to("../a.yaml")
    commit = repository.commit({"a.yaml": config_map("a"), "apps/b.yaml": config_map("b")})
    git = source(repository.url, branch="main")
    await read_revision(git, work_dir, None, NOTHING)
    place = cache.repository_dir(work_dir, git)
    for path in ("apps", "./apps", "apps/"):
        assert sorted(await cache.read_folder(place, commit, path)) == ["b.yaml", "link.yaml"]
    assert sorted(await cache.read_folder(place, commit, ".")) == ["a.yaml", "apps/b.yaml", "apps/link.yaml"]
    for path in ("nope", "a.yaml"):
        with pytest.raises(NotFound, match="there is no folder"):
            await cache.read_folder(place, commit, path)
    with pytest.raises(SourceUnreachable, match="has not been fetched yet"):
        await cache.read_folder(place, "1" * 40)
    with pytest.raises(SourceUnreachable, match="has not been fetched yet"):
        await cache.read_folder(work_dir / "git" / "none", commit)


async def test_the_capability_follows_tells_and_keeps_the_last_good_revision(
    repository: Repository, work_dir: Path
) -> None:
    desk = Desk(CAPABILITY, work_dir)
    first = repository.commit({"a.yaml": config_map("a")}, "first")
    desk.put(document(repository.url, branch="main"))
    outcome, told = await desk.reconcile(KEY)
    assert desk.verdict(KEY, FETCHED) == ("True", "Fetched")
    assert types(told) == ["source.fetched"]
    assert outcome.again_in_s is not None
    assert 50 < outcome.again_in_s < 70
    assert (await desk.reconcile(KEY))[1] == []

    desk.change(KEY, spec=document(repository.url, branch="gone").spec, generation=2)
    _, told = await desk.reconcile(KEY)
    assert desk.verdict(KEY, FETCHED) == ("False", "RevisionNotFound")
    assert types(told) == ["source.failed"]
    assert f"(it stays at main@sha1:{first})" in desk.condition(KEY, FETCHED).message
    assert desk.statuses[KEY].details["commit"] == first
    assert (await desk.reconcile(KEY))[1] == []

    os.rename(repository.path, f"{repository.path}-away")
    desk.change(KEY, spec=document(repository.url, branch="main").spec, generation=3)
    outcome, told = await desk.reconcile(KEY)
    assert desk.verdict(KEY, FETCHED) == ("False", "SourceUnreachable")
    assert outcome.again_in_s is not None
    assert outcome.again_in_s < 30
    os.rename(f"{repository.path}-away", repository.path)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, FETCHED) == ("True", "Fetched")

    desk.delete(KEY)
    outcome, told = await desk.reconcile(KEY)
    assert outcome.removable
    assert types(told) == ["source.deleted"]


async def test_a_reading_takes_few_milliseconds(repository: Repository, work_dir: Path) -> None:
    repository.commit({"a.yaml": config_map("a")})
    git = source(repository.url, branch="main")
    known = await read_revision(git, work_dir, None, NOTHING)
    started = time.perf_counter()
    for _ in range(5):
        known = await read_revision(git, work_dir, None, known)
    print(f"unchanged: {(time.perf_counter() - started) / 5 * 1000:.0f} ms")
    repository.commit({"a.yaml": config_map("b")})
    started = time.perf_counter()
    await read_revision(git, work_dir, None, known)
    print(f"new commit: {(time.perf_counter() - started) * 1000:.0f} ms")
