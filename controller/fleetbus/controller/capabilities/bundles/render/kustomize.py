"""A kustomization, through `kubectl kustomize` in a checkout of its commit: without network, with limits.

It follows only what is in the commit: addresses, which it would fetch, and paths that lead out are refused by
name before it runs. Where it cannot be given a network of its own, which has nothing in it, it does not run
unless the controller's owner allows it: the look at names is then all that keeps it from fetching.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from fleetbus.controller.capabilities.bundles.canonical import Found
from fleetbus.controller.capabilities.bundles.render.plain import KUSTOMIZATIONS
from fleetbus.controller.capabilities.bundles.render.references import references_outside
from fleetbus.controller.manifests_yaml import BUILT, load_marked
from fleetbus.controller.programs import run_program, without_network_possible
from fleetbus.controller.repository import Files, Link
from fleetbus.schemas.errors import ObjectInvalid, RenderFailed, TimeoutExpired

TIMEOUT_S = 20.0
OUTPUT_LIMIT_BYTES = BUILT.text
MEMORY_LIMIT_BYTES = 6 * 1024**3
"""Of address space, of which Go reserves far more than it uses."""


def is_kustomization(files: Files) -> bool:
    return any(name in files for name in KUSTOMIZATIONS)


async def render_kustomization(
    files: Files, path: str, work_dir: Path, *, without_isolation: bool = False
) -> list[Found]:
    """What the kustomization in folder `path` of the commit's `files` builds.

    Raises RenderFailed with its sentence, ObjectInvalid, TimeoutExpired.
    """
    if not (without_isolation or await asyncio.to_thread(without_network_possible)):
        raise RenderFailed(
            "the controller cannot run kustomize without network here",
            where=posixpath.join(path, "kustomization.yaml"),
            remedy="allow it user namespaces (unshare), or set renderWithoutIsolation in controller.json",
        )
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
            [await asyncio.to_thread(kubectl), "kustomize", str(checkout / path)],
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
    marked = await asyncio.to_thread(load_marked, text, f"{where} (built)", BUILT)
    return [Found(one.value, f"{where} (built, {_named(one.value)})") for one in marked]


def kubectl() -> str:
    """The kubectl of this installation, else the one on PATH."""
    beside = Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else shutil.which("kubectl") or "kubectl"


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
