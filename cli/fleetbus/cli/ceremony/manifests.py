"""The agent's manifests: those that are shipped with the command, or a file or folder of an operator's own.

`python -m fleetbus.cli.ceremony.manifests` copies them here from deploy/kustomize/, the guard as well; a test
compares them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Final

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.yaml_nodes import Trouble, parse
from fleetbus.schemas.errors import ObjectInvalid, SettingsInvalid

PROFILES: Final = ("observe", "standard", "full")
"""What the agent may do: write nothing but its own state, the usual kinds, also RBAC and aggregated APIs."""

FOLDER: Final = "agent_manifests"


def agent_manifests(place: Path | None = None, *, profile: str = "standard") -> list[dict[str, Any]]:
    """Those of a profile, or those at `place`. Raises SettingsInvalid, ObjectInvalid."""
    if place is None:
        found = resources.files("fleetbus.cli.ceremony").joinpath(FOLDER, f"{profile}.yaml")
        if not found.is_file():
            raise SettingsInvalid(
                f"there are no manifests for the profile `{profile}`",
                remedy=f"one of {', '.join(PROFILES)}, or --manifests DIR",
            )
        return parsed(found.read_text(encoding="utf-8"), f"{profile}.yaml")
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


def ship(repository: Path) -> None:
    """Copy the generated manifests of a checkout into the command's distribution."""
    generated = repository / "deploy" / "kustomize"
    places = {f"{profile}.yaml": generated / "agent" / profile / "agent.yaml" for profile in PROFILES}
    for name, place in {**places, "guard.yaml": generated / "guard" / "guard.yaml"}.items():
        write_whole(Path(__file__).parent / FOLDER / name, read_text(place))


if __name__ == "__main__":
    ship(Path(__file__).resolve().parents[4])
