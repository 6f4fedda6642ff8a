"""A kustomization, through `kubectl kustomize` in a checkout of its commit: without network, with limits.

It follows only what is in the commit: addresses, which it would fetch, and paths that lead out are refused by
name before it runs.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetbus.controller.capabilities.bundles.canonical import Found
from fleetbus.controller.capabilities.bundles.render.plain import KUSTOMIZATIONS
from fleetbus.controller.manifests_yaml import load_documents, load_marked
from fleetbus.controller.programs import run_program
from fleetbus.controller.repository import Files, Link
from fleetbus.schemas.errors import ObjectInvalid, RenderFailed, TimeoutExpired

TIMEOUT_S = 20.0
OUTPUT_LIMIT_BYTES = 32 * 1024 * 1024
MEMORY_LIMIT_BYTES = 6 * 1024**3
"""Of address space, of which Go reserves far more than it uses."""

_FETCHED = (
    "bases",
    "components",
    "configurations",
    "crds",
    "generators",
    "openapi",
    "patches",
    "patchesJson6902",
    "patchesStrategicMerge",
    "replacements",
    "resources",
    "transformers",
    "validators",
)
_FOLDERS = ("bases", "components", "resources")
_ADDRESS = re.compile(
    r"^[a-z+]+://|^git::|^git@|^[^/\s]+@[^/\s]+:|\?ref=|^(?:github\.com|bitbucket\.org|gitlab\.com)[/:]"
)


def is_kustomization(files: Files) -> bool:
    return any(name in files for name in KUSTOMIZATIONS)


async def render_kustomization(files: Files, path: str, work_dir: Path) -> list[Found]:
    """What the kustomization in folder `path` of the commit's `files` builds.

    Raises RenderFailed with its sentence, ObjectInvalid, TimeoutExpired.
    """
    for place, reference in references_outside(files, path):
        raise RenderFailed(
            f"it refers to `{reference[:200]}`, which is outside the commit",
            where=place,
            remedy="put a copy into the repository",
        )
    checkout = await asyncio.to_thread(_check_out, files, work_dir)
    try:
        return await _build(checkout, path)
    finally:
        await asyncio.to_thread(shutil.rmtree, checkout, ignore_errors=True)


async def _build(checkout: Path, path: str) -> list[Found]:
    environment = {
        "PATH": os.defpath,
        "HOME": str(checkout),
        "TMPDIR": str(checkout),
        "KUBECONFIG": "/dev/null",
        "LC_ALL": "C",
        "GOMAXPROCS": "2",
    }
    where = posixpath.join(path, "kustomization.yaml")
    try:
        ended = await run_program(
            [kubectl(), "kustomize", str(checkout / path)],
            environment=environment,
            folder=checkout,
            timeout_s=TIMEOUT_S,
            output_limit_bytes=OUTPUT_LIMIT_BYTES,
            without_network=True,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
        )
    except ObjectInvalid as error:
        raise RenderFailed(f"it builds more than {OUTPUT_LIMIT_BYTES // 2**20} MiB", where=where) from error
    except TimeoutExpired as error:
        raise RenderFailed(f"kustomize did not end within {TIMEOUT_S:g} s", where=where) from error
    if ended.code != 0:
        said = ended.complaint.replace(f"{checkout}/", "").replace(str(checkout), ".")
        said = said.replace(f"{checkout.parent}/", "")
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("#")]
        told = " ".join(lines).removeprefix("error: ")[:600] or f"kustomize ended with {ended.code}"
        raise RenderFailed(told, where=where)
    text = await asyncio.to_thread(ended.output.decode, errors="replace")
    marked = await asyncio.to_thread(load_marked, text, f"{where} (built)")
    return [Found(one.value, f"{where} (built, {_named(one.value)})") for one in marked]


def kubectl() -> str:
    """The kubectl of this installation, else the one on PATH."""
    beside = Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else shutil.which("kubectl") or "kubectl"


def references_outside(files: Files, path: str) -> Iterator[tuple[str, str]]:
    """(file, reference) for every address, and every path out of the commit, in what `path` reaches."""
    todo, seen = [posixpath.normpath(path or ".")], set[str]()
    while todo:
        folder = todo.pop()
        if folder in seen:
            continue
        seen.add(folder)
        for name in KUSTOMIZATIONS:
            place = posixpath.normpath(posixpath.join(folder, name))
            content = files.get(place)
            if not isinstance(content, bytes):
                continue
            for document in load_documents(content.decode(errors="replace"), place):
                for field in _FETCHED:
                    for reference in _texts(document.get(field)):
                        target = posixpath.normpath(posixpath.join(folder, reference))
                        if _ADDRESS.search(reference) or target.startswith(("../", "/")) or target == "..":
                            yield place, reference
                        elif field in _FOLDERS:
                            todo.append(target)


def _texts(value: Any) -> Iterator[str]:
    """Every text of one line: paths and addresses, not patches written in place."""
    if isinstance(value, str):
        if "\n" not in value:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict) and isinstance(value.get("path"), str):
        yield value["path"]


def _named(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name", "without a name") if isinstance(metadata, dict) else "without a name"
    return f"{value.get('kind', 'no kind')} {name}"


def _check_out(files: Files, work_dir: Path) -> Path:
    """The files on disk; links only to what lies within."""
    work_dir.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="render-", dir=work_dir))
    for name, content in files.items():
        parts = name.split("/")
        if ".." in parts or name.startswith("/"):
            continue
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif _stays_within(name, content):
            target.symlink_to(content.target)
    return root


def _stays_within(name: str, link: Link) -> bool:
    if link.target.startswith("/"):
        return False
    return not posixpath.normpath(posixpath.join(posixpath.dirname(name), link.target)).startswith("..")
