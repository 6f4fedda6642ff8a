"""What the bench gives to the fleet: documents, and the manifests in their repositories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetbus.schemas.documents import API_VERSION

OBJECTS = 1000
_IN_A_FILE = 50
_FILLER = "fleetbus " * 104


def source(name: str, url: Path) -> dict[str, Any]:
    """A repository that is looked at when the bench asks for it."""
    spec = {"git": {"url": str(url), "ref": {"branch": "main"}}, "interval": "1h"}
    return _document("Source", name, spec)


def bundle(name: str, clusters: Sequence[str], namespace: str, **more: Any) -> dict[str, Any]:
    placement = {"clusters": list(clusters)}
    return _document("Bundle", name, {"source": name, "placement": placement, "namespace": namespace, **more})


def secret_binding(name: str, clusters: Sequence[str], namespace: str) -> dict[str, Any]:
    spec = {
        "vault": {"shared": name},
        "placement": {"clusters": list(clusters)},
        "target": {"namespace": namespace, "name": name},
    }
    return _document("SecretBinding", name, spec)


def config_map(name: str, value: str, filler: str = "") -> dict[str, Any]:
    content = {"value": value} | ({"filler": filler} if filler else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": content}


def thousand() -> list[dict[str, Any]]:
    """ConfigMaps of about 1 KB."""
    return [config_map(f"settings-{number:04}", f"value {number}", _FILLER) for number in range(OBJECTS)]


def manifests(objects: Sequence[Mapping[str, Any]], *, comment: str = "") -> dict[str, str]:
    """File → YAML documents, fifty in a file; `comment` changes the bytes of the first file and no object."""
    files = {}
    for start in range(0, len(objects), _IN_A_FILE):
        parts = [as_yaml(one) for one in objects[start : start + _IN_A_FILE]]
        files[f"settings-{start // _IN_A_FILE:02}.yaml"] = "---\n".join(parts)
    if comment:
        first = min(files)
        files[first] = f"# {comment}\n{files[first]}"
    return files


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """As somebody would write it."""
    metadata, content = manifest["metadata"], manifest["data"]
    lines = [f"apiVersion: {manifest['apiVersion']}", f"kind: {manifest['kind']}", "metadata:"]
    lines += [f"  {key}: {value}" for key, value in metadata.items()]
    lines += ["data:", *(f"  {key}: {json.dumps(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def _document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
