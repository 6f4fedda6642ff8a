"""The agent's manifests: those that are shipped with the command, or a file or folder of an operator's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.yaml_nodes import Trouble, parse
from fleetbus.schemas.errors import ObjectInvalid, SettingsInvalid

SHIPPED = "agent.yaml"


def agent_manifests(place: Path | None) -> list[dict[str, Any]]:
    """Raises SettingsInvalid, ObjectInvalid."""
    if place is None:
        found = resources.files("fleetbus.cli.ceremony").joinpath(SHIPPED)
        if not found.is_file():
            raise SettingsInvalid(
                "the agent's manifests are not shipped with this command",
                remedy="give --manifests deploy/kustomize/agent",
            )
        return parsed(found.read_text(encoding="utf-8"), SHIPPED)
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    manifests = [
        one for file in files for one in parsed(read_text(file), str(file)) if not _kustomization(one)
    ]
    if not manifests:
        raise SettingsInvalid("there is no manifest", where=str(place))
    return manifests


def parsed(text: str, where: str) -> list[dict[str, Any]]:
    """The objects of a YAML text. Raises ObjectInvalid."""
    manifests: list[dict[str, Any]] = []
    for one in parse(text):
        if isinstance(one, Trouble):
            raise ObjectInvalid(one.message, where=f"{where}:{one.spot.line}:{one.spot.column}")
        if not isinstance(one.value, dict) or not one.value.get("kind"):
            raise ObjectInvalid("it is no Kubernetes object", where=f"{where}:{one.spot(()).line}")
        manifests.append(one.value)
    return manifests


def _kustomization(manifest: dict[str, Any]) -> bool:
    return manifest.get("kind") in {"Kustomization", "Component"}
