"""One line a capability, and one a document kind. Importing a module registers nothing; this tuple does."""

from __future__ import annotations

from types import ModuleType

from fleetbus.schemas.capabilities import bundles, clusters, commands, secrets, sources
from fleetbus.schemas.documents import Document

CAPABILITIES: tuple[ModuleType, ...] = (clusters, sources, bundles, secrets, commands)

KINDS: dict[str, type[Document]] = {
    "Cluster": clusters.Cluster,
    "Source": sources.Source,
    "Bundle": bundles.Bundle,
    "SecretBinding": secrets.SecretBinding,
}
"""Document kind → model, in the order in which they are listed."""


def kind_named(word: str) -> str | None:
    """The kind for any word an operator may use: `Bundle`, `bundle`, `bundles`, `bu`."""
    lowered = word.lower()
    for kind, model in KINDS.items():
        if lowered in {kind.lower(), model.plural, *model.short_names}:
            return kind
    return None
