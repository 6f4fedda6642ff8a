"""What is remembered of a live object: a few words, so that a thousand of them cost little. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleetbus.agent.capabilities.bundles.health import Health, assess
from fleetbus.agent.capabilities.bundles.objects import (
    PART_OF,
    GroupKind,
    annotated_order,
    short_digest,
)
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.capabilities.bundles import FIELD_MANAGER, PRUNE_ANNOTATION


@dataclass(frozen=True, slots=True)
class Live:
    """A member as the apiserver showed it last.

    `hash` is that of our own fields (empty when we own none): whoever edits one of them takes it from us.
    `version` orders what was seen of one object.
    """

    uid: str
    version: int
    hash: str
    part_of: str
    deleting: bool = False
    keep: bool = False
    """Annotated so that it is never pruned."""
    order: int = 0
    editor: str = ""
    """The manager, other than us, that changed it last."""
    finalizers: str = ""
    health: Health | None = None

    def same(self, other: Live | None) -> bool:
        """Whether nothing that matters differs."""
        return other is not None and (
            (self.uid, self.hash, self.part_of, self.deleting, self.keep, self.health)
            == (other.uid, other.hash, other.part_of, other.deleting, other.keep, other.health)
        )

    def with_health(self, health: Health | None) -> Live:
        return replace(self, health=health)


def live_of(found: Mapping[str, Any], whole: bool) -> Live:
    """From an object or its bare metadata; health only from a `whole` object."""
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    group = str(found.get("apiVersion") or "").rpartition("/")[0]
    kind: GroupKind = (group, str(found.get("kind") or ""))
    deleting = bool(metadata.get("deletionTimestamp"))
    managed = metadata.get("managedFields") or ()
    return Live(
        uid=str(metadata.get("uid") or ""),
        version=version_of(metadata),
        hash=fields_hash(managed),
        part_of=str((metadata.get("labels") or {}).get(PART_OF) or ""),
        deleting=deleting,
        keep=annotations.get(PRUNE_ANNOTATION) == "disabled",
        order=annotated_order(annotations),
        editor=last_editor(managed),
        finalizers=", ".join(map(str, metadata.get("finalizers") or ())) if deleting else "",
        health=assess(kind, found) if whole else None,
    )


def version_of(metadata: Mapping[str, Any]) -> int:
    """The resourceVersion as a number (KEP-5504 lets them be compared); 0 when it is none."""
    text = str(metadata.get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


def fields_hash(managed: Any) -> str:
    """Hash of the fields that we own by server-side apply; empty when there are none."""
    for entry in managed:
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            return short_digest(canonical(entry.get("fieldsV1") or {}))
    return ""


def last_editor(managed: Any) -> str:
    """The manager that edited last, besides us and those that write only subresources such as the status."""
    others = [
        (str(entry.get("time") or ""), place, str(entry.get("manager") or "unknown"))
        for place, entry in enumerate(managed)
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
    ]
    return max(others)[2] if others else ""
