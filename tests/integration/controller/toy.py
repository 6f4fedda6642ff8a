"""Two small capabilities, enough to see the controller's core at work without Git, Vault and Kubernetes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fleetbus.controller.ports import Capability, Change, ClusterView, Key, Outcome, Ports, Section, View
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.events import Happened


def _condition(type_: str, holds: bool, stored: Stored, now: datetime) -> Condition:
    return Condition(
        type=type_,
        status="True" if holds else "Unknown",
        reason=f"{type_}Seen" if holds else f"Not{type_}",
        last_transition_at=now,
        observed_generation=stored.generation,
    )


def _turned(stored: Stored, before: Status | None, after: Status) -> Sequence[Happened]:
    """One event a condition that changed its status."""
    old = {one.type: one.status for one in before.conditions} if before else {}
    kind = stored.kind.lower()
    refused, was = after.details.get("refused", ""), before.details.get("refused", "") if before else ""
    told = [
        Happened(
            type="cluster.message-refused", subject=f"cluster/{stored.name}", reason="R", message=refused
        )
    ]
    return (told if refused and refused != was else []) + [
        Happened(type=f"{kind}.{one.type.lower()}", subject=f"{kind}/{stored.name}", reason=one.reason)
        for one in after.conditions
        if one.type != "Ready" and old.get(one.type) != one.status
    ]


async def _clusters(stored: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
    cluster = view.clusters[stored.name]
    conditions = [_condition("Connected", cluster.connected, stored, now)]
    details = {"refused": cluster.refused}
    return Outcome(conditions=conditions, details=details, removable=stored.deleting is not None)


def _affected_clusters(change: Change, view: View) -> Iterable[Key]:
    return [("Cluster", change.name)] if change.kind == "Cluster" else []


async def _bundles(stored: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
    if stored.spec["path"] == "broken":
        raise ValueError("a mistake of a capability's")
    if stored.spec["path"] == "refused":
        raise DocumentInvalid("nobody renders that", where=f"Bundle {stored.name}")
    content = artifact({"objects": [stored.spec["path"]]})
    return Outcome(
        conditions=[_condition("Placed", bool(view.clusters), stored, now)],
        details={"placed": sorted(view.clusters), "artifact": content.name, "seen": [stored.generation]},
        artifacts=[content],
        removable=stored.deleting is not None,
    )


def _affected_bundles(change: Change, view: View) -> Iterable[Key]:
    if change.kind == "Cluster" and change.what == "document":
        return [stored.key for stored in view.of_kind("Bundle")]
    return []


def _section(cluster: ClusterView, view: View, now: datetime) -> Section | None:
    bundles: list[Mapping[str, Any]] = [
        {"id": stored.uid, "artifact": status.details["artifact"]}
        for stored in view.of_kind("Bundle")
        if (status := view.statuses.get(stored.key)) and cluster.id.name in status.details.get("placed", ())
    ]
    return Section(1, {"bundles": bundles})


TOYS: tuple[Capability, ...] = (
    Capability("clusters", "Cluster", _clusters, _turned, _affected_clusters),
    Capability("bundles", "Bundle", _bundles, _turned, _affected_bundles, section=_section),
)


def cluster_document(name: str, key: str, uid: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": {"env": "test"}},
        "spec": {"key": key, "uid": uid},
    }


def bundle_document(name: str, path: str = "a") -> dict[str, Any]:
    return {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": "Bundle",
        "metadata": {"name": name},
        "spec": {"source": "none", "path": path, "placement": {"selector": {}}},
    }
