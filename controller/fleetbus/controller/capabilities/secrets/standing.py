"""Where a binding stands in its clusters, and what that makes of the whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetbus.controller.capabilities.secrets.reports import report_of
from fleetbus.controller.ports import ClusterView
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.secrets import SecretCluster, SecretState
from fleetbus.schemas.conditions import MAX_MESSAGE_BYTES, Status
from fleetbus.schemas.documents import Stored


@dataclass(frozen=True, slots=True)
class InCluster:
    """`done`: it is there as bound, or gone as revoked, and the agent has signed that."""

    cluster: str
    done: bool
    away: bool
    status: Status
    reason: str
    message: str
    report: SecretState | None


def judge(cluster: ClusterView, document: Stored) -> InCluster:
    report, name = report_of(cluster, document.uid), cluster.id.name
    revoked = document.revoked
    if report is not None and revoked and report.removed and report.generation >= revoked.generation:
        return InCluster(name, True, False, "True", words.REASON_REVOKED, "", report)
    current = report is not None and report.generation >= document.generation and not report.removed
    if report is None or not current or (document.revoked and report.condition.status == "True"):
        away = not cluster.heard
        reason = words.REASON_CLUSTERS_AWAY if away else words.REASON_PROGRESSING
        return InCluster(name, False, away, "Unknown", reason, "is away" if away else "", report)
    condition = report.condition
    done = condition.status == "True"
    return InCluster(name, done, False, condition.status, condition.reason, condition.message, report)


def synced(found: Sequence[InCluster], document: Stored) -> tuple[Status, str, str]:
    """Clusters that are away never hide what is wrong elsewhere, and never make it False."""
    done = sum(one.done for one in found)
    if document.revoked:
        text = f"removed from {done} of {len(found)} clusters, each with a receipt"
    else:
        text = f"in step in {done} of {len(found)} clusters"
    if failing := [one for one in found if one.status == "False"]:
        more = f" (and {len(failing) - 1} more)" if failing[1:] else ""
        return "False", failing[0].reason, f"{failing[0].cluster}: {failing[0].message}{more}"
    if waiting := [one for one in found if not one.done and not one.away]:
        message = f"{text}; {waiting[0].cluster}: {waiting[0].message}" if waiting[0].message else text
        return "Unknown", waiting[0].reason, message
    if away := [one.cluster for one in found if one.away]:
        return "Unknown", words.REASON_CLUSTERS_AWAY, f"{text}; away: {', '.join(away[:5])}"
    return "True", words.REASON_REVOKED if document.revoked else words.REASON_SYNCED, text


def summary(one: InCluster) -> SecretCluster:
    report = one.report
    return SecretCluster(
        cluster=one.cluster,
        synced=one.status,
        reason=one.reason,
        message=one.message[:MAX_MESSAGE_BYTES],
        version=report.version if report else 0,
        removed=report.removed if report else False,
        removed_at=report.removed_at if report else None,
        confirmed_at=report.confirmed_at if report else None,
    )
