"""Bundles out of real repositories: plain folders and kustomizations, through `kubectl kustomize`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fleetbus.controller import programs
from fleetbus.controller import repository as cache
from fleetbus.controller.capabilities.bundles.render import (
    Input,
    Rendered,
    Renderings,
    kustomize,
    render_from_git,
)
from fleetbus.controller.capabilities.sources.git import read_revision
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities.sources import Git, SourceDetails
from fleetbus.schemas.errors import FleetbusError, NotFound, ObjectInvalid, RenderFailed
from tests.integration.sources.repositories import Repository, config_map

BASE = {
    "base/kustomization.yaml": "resources: [deployment.yaml]\n",
    "base/deployment.yaml": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1, template: {}}\n"
    ),
}
OVERLAY = {
    **BASE,
    "prod/kustomization.yaml": (
        "resources: [../base]\nnamePrefix: prod-\nnamespace: team\nreplicas: [{name: web, count: 3}]\n"
        "configMapGenerator: [{name: settings, files: [a.txt]}]\n"
    ),
    "prod/a.txt": "hello\n",
}


async def render(
    repository: Repository,
    work_dir: Path,
    path: str = ".",
    namespace: str = "",
    files: Any = None,
    *,
    without_isolation: bool = False,
) -> Rendered:
    commit = repository.commit(files or {})
    git = Git.model_validate({"url": repository.url, "ref": {"branch": "main"}})
    await read_revision(git, work_dir, None, SourceDetails())
    wanted = Input(git, commit, path, namespace)
    return await render_from_git(wanted, work_dir, without_isolation=without_isolation)


def named(rendered: Rendered) -> list[tuple[str, str, str]]:
    objects = parse_json(rendered.artifact.content)["objects"]
    assert len(objects) == rendered.objects
    return [(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in objects]


async def test_a_plain_folder_becomes_an_artifact(repository: Repository, work_dir: Path) -> None:
    files = {
        "apps/b.yaml": config_map("b"),
        "apps/deep/a.yaml": config_map("a"),
        "other.yaml": config_map("c"),
    }
    rendered = await render(repository, work_dir, "apps", "team", files)
    assert named(rendered) == [("ConfigMap", "team", "a"), ("ConfigMap", "team", "b")]
    again = await render(repository, work_dir, "apps", "team", {"README.md": "text"})
    assert again.artifact.name == rendered.artifact.name


async def test_a_kustomization_is_built_with_its_bases(repository: Repository, work_dir: Path) -> None:
    rendered = await render(repository, work_dir, "prod", "", OVERLAY)
    kinds = named(rendered)
    assert ("Deployment", "team", "prod-web") in kinds
    assert [kind for kind, _, name in kinds if name.startswith("prod-settings-")] == ["ConfigMap"]
    assert not list((work_dir / "render").glob("render-*")), "the checkout is gone"


@pytest.mark.parametrize(
    ("files", "path", "kind", "sentence"),
    [
        ({"a/b.yaml": "x: 1\n"}, "a", ObjectInvalid, "a/b.yaml:1: no Kubernetes object"),
        ({"a/b.yaml": "x: [1\n"}, "a", ObjectInvalid, "a/b.yaml:2:1: not YAML"),
        ({"a/b.yaml": "x"}, "nope", NotFound, "nope: there is no folder `nope`"),
        (
            {"a/kustomization.yaml": "resources: [https://example.com/a.yaml]\n"},
            "a",
            RenderFailed,
            "a/kustomization.yaml: it refers to `https://example.com/a.yaml`, which is outside the commit; put a copy",
        ),
        ({"a/kustomization.yaml": "resources: [gone.yaml]\n"}, "a", RenderFailed, "a/kustomization.yaml: "),
        ({"a/kustomization.yaml": "resourcs: [gone.yaml]\n"}, "a", RenderFailed, "a/kustomization.yaml: "),
        (
            {"a/kustomization.yaml": "resources: [../../outside]\n"},
            "a",
            RenderFailed,
            "a/kustomization.yaml: it refers to `../../outside`, which is outside the commit; put a copy",
        ),
        (
            {
                "a/kustomization.yaml": "resources: [b.yaml]\n",
                "a/b.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: aHVudGVyMg==}\n",
            },
            "a",
            ObjectInvalid,
            "a/kustomization.yaml (built, Secret s): Secret s holds values",
        ),
    ],
)
async def test_what_cannot_be_rendered_is_one_sentence(
    repository: Repository,
    work_dir: Path,
    files: dict[str, str],
    path: str,
    kind: type[FleetbusError],
    sentence: str,
) -> None:
    with pytest.raises(kind) as raised:
        await render(repository, work_dir, path, files=files)
    assert raised.value.sentence().startswith(sentence)
    assert str(work_dir) not in raised.value.sentence()
    assert "aHVudGVyMg" not in raised.value.sentence()


async def test_nothing_is_fetched_even_when_the_look_misses_an_address(
    repository: Repository, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kustomize, "references_outside", lambda files, path: iter(()))
    with pytest.raises(RenderFailed, match="unreachable"):
        await render(
            repository, work_dir, files={"kustomization.yaml": "resources: [https://127.0.0.1/a.yaml]\n"}
        )


REACHING = {
    "files": "configMapGenerator: [{name: a, files: ['k=URL']}]\n",
    "envs": "configMapGenerator: [{name: a, envs: ['URL']}]\n",
    "env": "secretGenerator: [{name: a, env: 'URL'}]\n",
    "plugin in place": "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n"
    "  metadata: {name: g}\n  name: g\n  files: ['k=URL']\n",
    "plugin in a file": "generators: [plugin.yaml]\n",
    "through a link": "resources: [link]\n",
    "patch": "resources: [cm.yaml]\npatches: [{path: 'URL', target: {kind: ConfigMap}}]\n",
    "openapi": "resources: [cm.yaml]\nopenapi: {path: 'URL'}\n",
    "resource": "resources: ['URL']\n",
}
PLUGIN = "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nname: g\nfiles: ['k=URL']\n"


class Listener:
    """A server on loopback that counts who comes, and answers everybody with a ConfigMap."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        body = config_map("fetched").encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[tuple[Listener, str]]:
    found = Listener()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    async with server:
        yield found, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"


@pytest.mark.parametrize("where", REACHING)
@pytest.mark.parametrize("layer", ["look", "isolation"])
async def test_each_of_the_two_layers_alone_keeps_from_fetching(
    repository: Repository,
    work_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: tuple[Listener, str],
    where: str,
    layer: str,
) -> None:
    found, url = listener
    if layer == "isolation":
        monkeypatch.setattr(kustomize, "references_outside", lambda files, path: iter(()))
    else:
        monkeypatch.setattr(programs, "_unshare", lambda: None)
    texts = {"kustomization.yaml": REACHING[where], "plugin.yaml": PLUGIN, "cm.yaml": config_map("c")}
    texts["base/kustomization.yaml"] = REACHING["files"]
    (repository.path / "link").symlink_to("base")
    files = {name: text.replace("URL", url) for name, text in texts.items()}
    with pytest.raises(RenderFailed) as raised:
        await render(repository, work_dir, files=files, without_isolation=True)
    assert ("outside the commit" in raised.value.message) == (layer == "look")
    assert found.asked == 0


async def test_without_either_layer_it_would_be_fetched(
    repository: Repository,
    work_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: tuple[Listener, str],
) -> None:
    found, url = listener
    monkeypatch.setattr(kustomize, "references_outside", lambda files, path: iter(()))
    monkeypatch.setattr(programs, "_unshare", lambda: None)
    files = {"kustomization.yaml": REACHING["files"].replace("URL", url)}
    await render(repository, work_dir, files=files, without_isolation=True)
    assert found.asked == 1


async def test_where_nothing_can_be_isolated_kustomizations_are_refused_and_plain_folders_are_not(
    repository: Repository, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_unshare", lambda: None)
    with pytest.raises(RenderFailed, match="without network") as raised:
        await render(repository, work_dir, "prod", files={**OVERLAY, "plain/a.yaml": config_map("a")})
    assert "renderWithoutIsolation" in raised.value.remedy
    assert (await render(repository, work_dir, "plain", files={"x": ""})).objects == 1
    assert (await render(repository, work_dir, "prod", files={"x": "1"}, without_isolation=True)).objects == 2


async def test_a_link_out_of_the_checkout_leads_nowhere(repository: Repository, work_dir: Path) -> None:
    (repository.path / "passwd.yaml").symlink_to("/etc/passwd")
    with pytest.raises(RenderFailed):
        await render(repository, work_dir, files={"kustomization.yaml": "resources: [passwd.yaml]\n"})


async def test_one_input_is_rendered_once(repository: Repository, work_dir: Path) -> None:
    commit = repository.commit({"a.yaml": config_map("a")})
    git = Git.model_validate({"url": repository.url})
    await read_revision(git, work_dir, None, SourceDetails())
    runs: list[Input] = []

    async def counted(wanted: Input, folder: Path) -> Rendered:
        runs.append(wanted)
        return await render_from_git(wanted, folder)

    renderings = Renderings(counted)
    for _ in range(3):
        await renderings.once(Input(git, commit, ".", ""), work_dir)
    await renderings.once(Input(git, commit, ".", "team"), work_dir)
    for _ in range(2):
        with pytest.raises(NotFound):
            await renderings.once(Input(git, commit, "nope", ""), work_dir)
    assert len(runs) == 3
    await renderings.once(Input(git, commit, ".", ""), work_dir, afresh=True)
    assert len(runs) == 4


async def test_from_a_commit_to_an_artifact_takes_no_time_to_speak_of(
    repository: Repository, work_dir: Path
) -> None:
    await render(repository, work_dir, files={f"{n}.yaml": config_map(f"c{n}") for n in range(20)})
    started = time.perf_counter()
    await render(repository, work_dir, files={"3.yaml": config_map("c3", changed="yes")})
    print(f"plain: {(time.perf_counter() - started) * 1000:.0f} ms, with the commit")
    started = time.perf_counter()
    await render(repository, work_dir, "prod", files=OVERLAY)
    print(f"kustomize: {(time.perf_counter() - started) * 1000:.0f} ms, with the commit")
    assert cache.repository_dir(work_dir, Git.model_validate({"url": repository.url})).exists()
