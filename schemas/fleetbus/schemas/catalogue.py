"""One line a capability, and one a document kind. Importing a module registers nothing; this tuple does."""

from __future__ import annotations

from types import ModuleType

from fleetbus.schemas.capabilities import bundles, clusters, commands, secrets, sources
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.documents import Document
from fleetbus.schemas.events import EVENT_LOST
from fleetbus.schemas.states import RESULT_ASPECT

CAPABILITIES: tuple[ModuleType, ...] = (clusters, sources, bundles, secrets, commands)

KINDS: dict[str, type[Document]] = {
    "Cluster": clusters.Cluster,
    "Source": sources.Source,
    "Bundle": bundles.Bundle,
    "SecretBinding": secrets.SecretBinding,
}
"""Document kind → model, in the order in which they are listed."""


def events_told_in(aspect: str) -> frozenset[str]:
    """The event types that a cluster may tell in one aspect of its state."""
    told = {EVENT_LOST}
    for capability in CAPABILITIES:
        if aspect in capability.ASPECTS or (aspect == RESULT_ASPECT and capability is commands):
            told |= capability.CLUSTER_EVENTS
    return frozenset(told)


def placed_kinds() -> tuple[str, ...]:
    """The kinds whose spec has a placement."""
    return tuple(kind for kind, model in KINDS.items() if _has_placement(model))


def _has_placement(model: type[Document]) -> bool:
    return "placement" in getattr(model.model_fields["spec"].annotation, "model_fields", ())


def condition_types(kind: str) -> tuple[str, ...]:
    """The types of conditions that a document of this kind may have."""
    own = next(one for one in CAPABILITIES if one.__name__ == KINDS[kind].__module__)
    # What a capability says of everything that it has in one cluster stands with the cluster.
    summed = [
        one.CLUSTER_READY for one in CAPABILITIES if kind == "Cluster" and hasattr(one, "CLUSTER_READY")
    ]
    return (READY, *own.CONDITIONS, *summed)


def kind_named(word: str) -> str | None:
    """The kind for any word an operator may use: `Bundle`, `bundle`, `bundles`, `bu`."""
    lowered = word.lower()
    for kind, model in KINDS.items():
        if lowered in {kind.lower(), model.plural, *model.short_names}:
            return kind
    return None
