"""What a kustomization refers to that is not in its commit: kustomize would fetch it, or read it, from anywhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from fleetbus.controller.capabilities.bundles.render.plain import KUSTOMIZATIONS
from fleetbus.controller.manifests_yaml import load_documents
from fleetbus.controller.repository import Files, Link

_REFERRING = (
    "bases",
    "components",
    "configMapGenerator",
    "configurations",
    "crds",
    "generators",
    "openapi",
    "patches",
    "patchesJson6902",
    "patchesStrategicMerge",
    "replacements",
    "resources",
    "secretGenerator",
    "transformers",
    "validators",
)
"""Fields of a kustomization."""
_FOLLOWED = ("bases", "components", "generators", "resources", "transformers", "validators")
"""Whose entries are folders with kustomizations, or files that may configure a plugin."""
_PATHS = frozenset({"env", "envs", "file", "files", "path", "paths"})
"""Keys further down, of generators, patches and plugins, that hold paths."""
_WITH_KEY = frozenset({"file", "files"})
"""Of these an entry may be `key=path`."""
_ADDRESS = re.compile(
    r"://|^[a-z]+::|^https?:|^git@|^[^/\s]+@[^/\s]+:|\?ref=|^(?:github\.com|bitbucket\.org|gitlab\.com)[/:]",
    re.IGNORECASE,
)
_MOST_LINKS = 40

Named = tuple[str, str]
"""(the key it stands under, the text)."""


def references_outside(files: Files, path: str) -> Iterator[tuple[str, str]]:
    """(file, reference) for every address, and every path out of the commit, in what `path` reaches.

    Files that configure kustomize's own plugins are looked through as well, in place or by name.
    """
    todo, seen = [posixpath.normpath(path or ".")], set[str]()
    while todo:
        place = _real(files, todo.pop())
        if place is None or place in seen:
            continue
        seen.add(place)
        for file, folder, document in _documents(files, place):
            for key, text in _references(document):
                if _is_outside(folder, key, text):
                    yield file, text
                elif key in _FOLLOWED:
                    todo.append(posixpath.normpath(posixpath.join(folder, text)))


def _documents(files: Files, place: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, folder, document) of the kustomization in a folder, or of plugins that a file configures."""
    content = files.get(place)
    if isinstance(content, bytes):
        # Only a plugin's configuration has this version; other files may be no YAML at all.
        if b"builtin" in content:
            for document in load_documents(content.decode(errors="replace"), place):
                if document.get("apiVersion") == "builtin":
                    yield place, posixpath.dirname(place), document
        return
    for name in KUSTOMIZATIONS:
        file = _real(files, posixpath.normpath(posixpath.join(place, name)))
        content = files.get(file) if file else None
        if file is None or not isinstance(content, bytes):
            continue
        for document in load_documents(content.decode(errors="replace"), file):
            yield file, place, {key: value for key, value in document.items() if key in _REFERRING}
            for field in _FOLLOWED:
                for text in _in_place(document.get(field)):
                    for configured in load_documents(text, file):
                        yield file, place, configured


def _references(value: Any, key: str = "") -> Iterator[Named]:
    """Every text of one line under a key that holds paths: not patches and literals written in place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _references(inner, name)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item, key)
    elif isinstance(value, str) and "\n" not in value and (key in _PATHS or key in _REFERRING):
        yield key, value


def _in_place(value: Any) -> Iterator[str]:
    """Configurations of plugins that are written into the kustomization itself."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str) and "\n" in item:
            yield item


def _is_outside(folder: str, key: str, text: str) -> bool:
    if _ADDRESS.search(text):
        return True
    named = text.rpartition("=")[2] if key in _WITH_KEY else text
    target = posixpath.normpath(posixpath.join(folder, named))
    return bool(_ADDRESS.search(named)) or target.startswith(("../", "/")) or target == ".."


def _real(files: Files, place: str) -> str | None:
    """`place` with symbolic links of the commit followed; None when they lead out of it, or in circles."""
    for _ in range(_MOST_LINKS):
        parts = place.split("/")
        for count in range(1, len(parts) + 1):
            begin = "/".join(parts[:count])
            content = files.get(begin)
            if isinstance(content, Link):
                target = posixpath.join(posixpath.dirname(begin), content.target, *parts[count:])
                place = posixpath.normpath(target)
                break
        else:
            return None if place.startswith(("../", "/")) or place == ".." else place
    return None
