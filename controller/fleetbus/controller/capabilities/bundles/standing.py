"""Where a bundle stands in each cluster, and what that makes of the whole. Pure.

First each cluster is given one standing, then the standings are counted into conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from fleetbus.controller.capabilities.bundles.reports import report_of
from fleetbus.controller.ports import ClusterView
from fleetbus.schemas.approvals import SET
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleState, ClusterSummary
from fleetbus.schemas.conditions import MAX_LISTED, MAX_MESSAGE_BYTES, READY, Condition, find

ConditionStatus = Literal["True", "False", "Unknown"]


class Standing(Enum):
    """What is so in one cluster. Worst first."""

    REFUSED = "has the wanted artifact and could not apply all of it"
    HELD = "has applied it and holds objects back from pruning"
    FAILING = "has applied it and it is not healthy"
    BEHIND = "has not reported the wanted artifact yet"
    AWAY = "has not, and is away"
    STARTING = "has applied it and it is becoming healthy"
    READY = "has applied it and it is healthy"


@dataclass(frozen=True, slots=True)
class InCluster:
    cluster: str
    standing: Standing
    report: BundleState | None
    reason: str
    message: str

    @property
    def updated(self) -> bool:
        return self.standing not in (Standing.BEHIND, Standing.AWAY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition that has no time yet."""

    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the clusters are told. `current`: it is what the source's newest revision renders to."""

    id: str
    name: str
    generation: int
    artifact: str
    revision: str
    artifact_revision: str
    current: bool


def judge(cluster: ClusterView, wanted: Wanted) -> InCluster:
    """One cluster's standing, with the reason and message of what is wrong there."""
    report = report_of(cluster, wanted.id)
    name = cluster.id.name
    if (
        report is None
        or report.removed
        or report.artifact != wanted.artifact
        or report.generation < wanted.generation
    ):
        if _asks_first(cluster):
            return InCluster(name, Standing.BEHIND, report, words.REASON_CHANGE_NOT_APPROVED, _UNAPPROVED)
        if cluster.heard:
            return InCluster(name, Standing.BEHIND, report, words.REASON_PROGRESSING, "")
        return InCluster(name, Standing.AWAY, report, words.REASON_CLUSTERS_AWAY, "is away")
    applied, healthy = find(report.conditions, words.APPLIED), find(report.conditions, words.HEALTHY)
    if applied is not None and applied.status == "False" and applied.reason != words.REASON_PRUNE_HELD:
        return _because(name, Standing.REFUSED, report, applied, words.REASON_APPLY_REFUSED)
    if report.held_prunes:
        message = f"{report.held_prunes} objects have left the source and are kept"
        return InCluster(name, Standing.HELD, report, words.REASON_PRUNE_HELD, message)
    if applied is None or applied.status != "True":
        return _because(name, Standing.BEHIND, report, applied, words.REASON_PROGRESSING)
    if healthy is not None and healthy.status == "False":
        return _because(name, Standing.FAILING, report, healthy, words.REASON_WORKLOAD_FAILING)
    if healthy is None or healthy.status == "Unknown":
        return _because(name, Standing.STARTING, report, healthy, words.REASON_WORKLOAD_PROGRESSING)
    return InCluster(name, Standing.READY, report, READY, "")


def _asks_first(cluster: ClusterView) -> bool:
    """Whether what it was told last waits there for approvals."""
    protection = cluster.facts.protection if cluster.facts else None
    return protection is not None and any(one.kind == SET for one in protection.waiting)


def _because(
    name: str, standing: Standing, report: BundleState, condition: Condition | None, otherwise: str
) -> InCluster:
    if condition is None:
        return InCluster(name, standing, report, otherwise, "")
    return InCluster(name, standing, report, condition.reason, condition.message)


def applied(found: Sequence[InCluster], wanted: Wanted) -> Verdict:
    """Clusters that are away never hide what is wrong elsewhere, and never make it False."""
    if not wanted.artifact:
        return Verdict("Unknown", words.REASON_PROGRESSING, "nothing has been rendered yet")
    for standing in (Standing.REFUSED, Standing.HELD):
        if worst := [one for one in found if one.standing is standing]:
            return _wrong(worst, wanted)
    done = sum(one.updated for one in found)
    text = f"{done} of {len(found)} clusters have applied {wanted.artifact_revision}"
    if asking := [one.cluster for one in found if one.reason in _ASKING]:
        first = next(one for one in found if one.reason in _ASKING)
        said = f"{text}; {_names(asking)}: {first.message or first.reason}"
        return Verdict("Unknown", first.reason, said)
    if any(one.standing is Standing.BEHIND for one in found):
        return Verdict("Unknown", words.REASON_PROGRESSING, text)
    if gone := [one.cluster for one in found if one.standing is Standing.AWAY]:
        return Verdict("Unknown", words.REASON_CLUSTERS_AWAY, f"{text}; away: {_names(gone)}")
    return Verdict("True", words.REASON_APPLIED, text)


def healthy(found: Sequence[InCluster], wanted: Wanted) -> Verdict:
    """Of the clusters that have it; where it is not applied yet, that is said by `applied`."""
    if failing := [one for one in found if one.standing is Standing.FAILING]:
        return _wrong(failing, wanted)
    if starting := [one for one in found if one.standing is Standing.STARTING]:
        first = starting[0]
        message = f"{_names([one.cluster for one in starting])}: {first.message or 'not ready yet'}"
        return Verdict("Unknown", words.REASON_WORKLOAD_PROGRESSING, message)
    before = applied(found, wanted)
    if before.status != "True":
        status: ConditionStatus = "Unknown"
        return Verdict(status, before.reason, before.message)
    return Verdict("True", words.REASON_HEALTHY, f"{len(found)} of {len(found)} clusters are healthy")


def _wrong(found: Sequence[InCluster], wanted: Wanted) -> Verdict:
    first = found[0]
    others = (
        f" (and {len(found) - 1} more: {_names([one.cluster for one in found[1:]])})" if found[1:] else ""
    )
    message = f"{first.cluster}: {first.message or first.reason}{others}"
    if first.standing is Standing.HELD:
        count = max(one.report.held_prunes for one in found if one.report)
        message += f"; fleetbus release bundle/{wanted.name} --prune {count}"
    return Verdict("False", first.reason, message)


def summaries(found: Iterable[InCluster], wanted: Wanted) -> tuple[ClusterSummary, ...]:
    """For the status: those that are not ready first, at most MAX_LISTED."""
    order = {standing: position for position, standing in enumerate(Standing)}
    worst_first = sorted(found, key=lambda one: (order[one.standing], one.cluster))
    return tuple(_summary(one, wanted) for one in worst_first[:MAX_LISTED])


def _summary(one: InCluster, wanted: Wanted) -> ClusterSummary:
    report = one.report
    ready = find(report.conditions, READY) if report else None
    updated = one.updated and wanted.current
    return ClusterSummary(
        cluster=one.cluster,
        ready=_READY.get(one.standing, "Unknown"),
        reason=one.reason,
        message=one.message[:MAX_MESSAGE_BYTES],
        revision=wanted.revision if updated else report.revision if report else "",
        objects=report.objects if report else 0,
        ready_objects=report.ready if report else 0,
        updated=updated,
        since=ready.last_transition_at if ready else None,
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_ASKING = (words.REASON_CHANGE_NOT_APPROVED, words.REASON_PRUNE_NOT_APPROVED)
_UNAPPROVED = "waits for approvals; fleetbus approve"
_READY: dict[Standing, ConditionStatus] = {
    Standing.REFUSED: "False",
    Standing.HELD: "False",
    Standing.FAILING: "False",
    Standing.READY: "True",
}
