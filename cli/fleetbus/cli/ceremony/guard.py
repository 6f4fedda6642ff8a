"""The guard as it is given to a cluster: the shipped policy, with what its owner allows written into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from fleetbus.cli.ceremony.manifests import FOLDER, parsed
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.guard import (
    AGENT_IMAGES,
    GUARD,
    NAMESPACES,
    PARAMETERS,
    REGISTRIES,
    SUBRESOURCES,
    is_namespace_pattern,
    is_registry,
    repository,
)

GUARD_FILE: Final = "guard.yaml"

_POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
)
_TEXT = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the owner allows. Empty: as it stands in the cluster, and at first all namespaces and registries.

    `agent_image`: from its repository alone the agent may be renewed. Raises SettingsInvalid for what is no
    namespace, no registry or no image.
    """

    namespaces: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    agent_image: str = ""

    def __post_init__(self) -> None:
        _refuse(
            self.namespaces, is_namespace_pattern, "--allow-namespaces", "a name, or its beginning and `*`"
        )
        _refuse(self.registries, is_registry, "--allow-registries", "a host, with a path if need be")
        _refuse(self._images, is_registry, "--image", "an image's name")

    @property
    def _images(self) -> tuple[str, ...]:
        return (repository(self.agent_image),) if self.agent_image else ()

    def expressions(self) -> dict[str, str]:
        """Parameter → CEL, of those that were given."""
        given = {NAMESPACES: self.namespaces, REGISTRIES: self.registries, AGENT_IMAGES: self._images}
        return {name: _listed(values) for name, values in given.items() if values}


async def read_guard(kube: Kube) -> dict[str, str]:
    """The parameters of the guard that stands in a cluster, as its owner left them; none without a guard."""
    try:
        found = await kube.get(_POLICIES, "", GUARD)
    except NotFound:
        return {}
    variables = (found.get("spec") or {}).get("variables") or ()
    return {one["name"]: one["expression"] for one in variables if one["name"] in PARAMETERS}


def guard_manifests(
    allowed: Allowed | None = None, standing: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The policy and its binding. What is given wins over what `standing` in the cluster, that over the default."""
    text = resources.files("fleetbus.cli.ceremony").joinpath(FOLDER, GUARD_FILE).read_text(encoding="utf-8")
    chosen = {**(standing or {}), **(allowed or Allowed()).expressions()}
    objects = parsed(text, GUARD_FILE)
    for variable in objects[0]["spec"]["variables"]:
        name, shipped = variable["name"], variable["expression"]
        if name == SUBRESOURCES and name in chosen:
            # A newer agent may need more than its owner was asked for.
            both = dict.fromkeys([*_TEXT.findall(chosen[name]), *_TEXT.findall(shipped)])
            variable["expression"] = _listed(tuple(both))
        elif name in chosen:
            variable["expression"] = chosen[name]
    return objects


def _listed(values: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _refuse(values: Sequence[str], fits: Callable[[str], bool], option: str, remedy: str) -> None:
    for value in values:
        if not fits(value):
            raise SettingsInvalid(f"`{value[:80]}` does not fit", where=option, remedy=f"give {remedy}")
