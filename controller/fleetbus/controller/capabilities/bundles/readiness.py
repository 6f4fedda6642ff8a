"""How much of what bundles place on a cluster it reports as ready. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetbus.controller.capabilities.bundles.reports import report_of
from fleetbus.controller.decisions.placed import Told, placed_on
from fleetbus.controller.ports import ClusterView, Readiness, View
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.conditions import MAX_MESSAGE_BYTES, READY, Condition, Status, find


@dataclass(frozen=True, slots=True)
class _Item:
    """One placed bundle in one cluster. `ready` as the cluster's own condition says."""

    name: str
    ready: Status
    reason: str = words.REASON_PROGRESSING
    message: str = ""


def readiness(cluster: ClusterView, view: View, now: datetime) -> Readiness:
    items = [_item(cluster, document.name, told) for document, told in placed_on(cluster, view, "Bundle")]
    ready = sum(one.ready == "True" for one in items)
    status, reason, message = _verdict(items, ready)
    condition = Condition(
        type=words.CLUSTER_READY, status=status, reason=reason, message=message, last_transition_at=now
    )
    return Readiness(len(items), ready, condition)


def _item(cluster: ClusterView, name: str, told: Told) -> _Item:
    report = report_of(cluster, told.uid)
    if report is None or report.removed or report.artifact != told.artifact:
        return _Item(name, "Unknown")
    ready = find(report.conditions, READY)
    return _Item(name, ready.status, ready.reason, ready.message) if ready else _Item(name, "Unknown")


def _verdict(items: list[_Item], ready: int) -> tuple[Status, str, str]:
    text = f"{ready} of {len(items)} bundles are ready"
    if ready == len(items):
        return "True", words.REASON_CLUSTER_READY, text
    failing = [one for one in items if one.ready == "False"]
    if not failing:
        return "Unknown", words.REASON_CLUSTER_PROGRESSING, text
    first = failing[0]
    said = first.message[:MAX_MESSAGE_BYTES]
    more = f" (and {len(failing) - 1} more)" if failing[1:] else ""
    message = f"bundle/{first.name}: {first.reason}: {said}{more}".replace(": :", ":")
    return "False", words.REASON_CLUSTER_NOT_READY, message
