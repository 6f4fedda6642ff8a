"""What is reported of a bundle: counts, conditions, the objects that are not as they should be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetbus.agent.capabilities.bundles.refusals import WAITING
from fleetbus.agent.text import cut
from fleetbus.schemas.capabilities.bundles import (
    APPLIED,
    HEALTHY,
    MAX_FAILING_OBJECTS,
    REASON_APPLIED,
    REASON_APPLY_REFUSED,
    REASON_ARTIFACT_MISSING,
    REASON_CLUSTER_UNREACHABLE,
    REASON_CONTESTED,
    REASON_HALTED,
    REASON_HEALTHY,
    REASON_KIND_UNKNOWN,
    REASON_OBSERVE_ONLY,
    REASON_PROGRESSING,
    REASON_PRUNE_HELD,
    REASON_PRUNE_NOT_APPROVED,
    REASON_WORKLOAD_FAILING,
    REASON_WORKLOAD_PROGRESSING,
    BundleEntry,
    BundleState,
    ObjectState,
)
from fleetbus.schemas.conditions import Condition, Status, put, summarise

MAX_FAILING_IN_ALL = 256
"""Objects that one aspect names in all of its bundles together, so that it stays within a message."""


_WEIGHT = {REASON_APPLY_REFUSED: -1, REASON_KIND_UNKNOWN: 1, REASON_CONTESTED: 2}


@dataclass(frozen=True, slots=True)
class Findings:
    """What a pass over one bundle found.

    `missing`: why its artifact is not here. `unreachable`: what the apiserver's silence was. `withheld`: steps
    that a halt keeps back. `unapproved`: objects that are to go and stay until approvers agree. `unfinished`: steps
    that are still to be done for another reason.
    """

    objects: int = 0
    ready: int = 0
    drifted: int = 0
    held: int = 0
    unapproved: int = 0
    withheld: int = 0
    unfinished: int = 0
    missing: str = ""
    unreachable: str = ""
    refused: tuple[ObjectState, ...] = ()
    failing: tuple[ObjectState, ...] = ()
    progressing: tuple[ObjectState, ...] = ()
    would: str = ""
    """What an agent that only observes would do."""
    unseen: str = ""
    """Kinds whose health is not known, as they could not be watched yet."""


def bundle_state(
    entry: BundleEntry, findings: Findings, before: BundleState | None, now: datetime
) -> BundleState:
    """The state to report; transition times and the last applied artifact are those of `before`."""
    applied = _condition(APPLIED, _applied(entry, findings), entry.generation, now)
    healthy = _condition(HEALTHY, _healthy(findings), entry.generation, now)
    conditions = put(before.conditions if before else (), applied, healthy)
    ready = summarise(conditions, now, generation=entry.generation)
    bad = sorted([*findings.refused, *findings.failing], key=lambda one: one.object)
    return BundleState(
        id=entry.id,
        name=entry.name,
        generation=entry.generation,
        revision=entry.revision,
        artifact=entry.artifact,
        applied_artifact=entry.artifact
        if applied.status == "True"
        else before.applied_artifact
        if before
        else "",
        objects=findings.objects or entry.objects,
        ready=findings.ready,
        drifted=findings.drifted,
        held_prunes=findings.held,
        conditions=put(conditions, ready),
        failing=tuple(
            [*bad, *sorted(findings.progressing, key=lambda one: one.object)][:MAX_FAILING_OBJECTS]
        ),
    )


def _condition(type_: str, judged: tuple[Status, str, str], generation: int, now: datetime) -> Condition:
    status, reason, message = judged
    return Condition(
        type=type_,
        status=status,
        reason=reason,
        message=cut(message),
        last_transition_at=now,
        observed_generation=generation,
    )


def _applied(entry: BundleEntry, found: Findings) -> tuple[Status, str, str]:
    if found.missing:
        return "Unknown", REASON_ARTIFACT_MISSING, found.missing
    if found.withheld:
        return "Unknown", REASON_HALTED, f"a halt keeps {found.withheld} changes back"
    wrong = [one for one in found.refused if one.reason not in WAITING and one.reason != REASON_OBSERVE_ONLY]
    if wrong:
        return "False", _worst(wrong), _counted(wrong, found.objects)
    if found.unreachable:
        return "Unknown", REASON_CLUSTER_UNREACHABLE, found.unreachable
    if found.would:
        said = f"would {found.would} of {found.objects} objects; this agent may only observe"
        return "Unknown", REASON_OBSERVE_ONLY, said
    if found.refused:
        return "Unknown", found.refused[0].reason, _counted(found.refused, found.objects)
    if found.held:
        release = f"fleetbus release bundle/{entry.name} --prune {found.held}"
        return "False", REASON_PRUNE_HELD, f"would prune {found.held} objects; nothing was pruned; {release}"
    if found.unapproved:
        return "Unknown", REASON_PRUNE_NOT_APPROVED, prune_not_approved(found.unapproved)
    if found.unfinished:
        return "Unknown", REASON_PROGRESSING, f"{found.unfinished} changes to go"
    return "True", REASON_APPLIED, f"{found.objects} objects"


def prune_not_approved(count: int) -> str:
    return f"would remove {count} objects; nothing was removed, approvals are missing; fleetbus approve"


def _worst(wrong: Sequence[ObjectState]) -> str:
    """The reason that says most about what to do."""
    return min((one.reason for one in wrong), key=lambda reason: (_WEIGHT.get(reason, 0), reason))


def _counted(some: Sequence[ObjectState], objects: int) -> str:
    first = next((one for one in some if one.reason == _worst(some)), some[0])
    said = f"{first.object}: {first.message}" if first.message else first.object
    return said if len(some) == 1 else f"{len(some)} of {objects} objects, first {said}"


def _healthy(found: Findings) -> tuple[Status, str, str]:
    if found.failing:
        return "False", REASON_WORKLOAD_FAILING, _counted(found.failing, found.objects)
    if found.progressing:
        return "Unknown", REASON_WORKLOAD_PROGRESSING, _counted(found.progressing, found.objects)
    if found.missing:
        return "Unknown", REASON_ARTIFACT_MISSING, found.missing
    if found.unseen:
        return "Unknown", REASON_CLUSTER_UNREACHABLE, f"the health of {found.unseen} is not known yet"
    if found.refused:
        missing = [one for one in found.refused if one.reason != REASON_CONTESTED]
        if missing:
            return "Unknown", REASON_PROGRESSING, f"{len(missing)} objects are not applied"
    return "True", REASON_HEALTHY, f"{found.ready} of {found.objects} objects"


def within_bounds(states: Sequence[BundleState]) -> tuple[BundleState, ...]:
    """The bundles of one aspect; when many of them fail, each names fewer of its objects."""
    named = sum(len(one.failing) for one in states)
    ordered = sorted(states, key=lambda one: (one.name, one.id))
    if named <= MAX_FAILING_IN_ALL:
        return tuple(ordered)
    each = max(1, MAX_FAILING_IN_ALL // len(ordered))
    return tuple(one.model_copy(update={"failing": one.failing[:each]}) for one in ordered)
