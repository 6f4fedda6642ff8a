"""What happened in a pass that no body shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleetbus.agent.capabilities.bundles.contest import DELETED, Contest
from fleetbus.agent.capabilities.bundles.objects import ObjectKey
from fleetbus.agent.capabilities.bundles.plan import ApplyStep
from fleetbus.schemas.capabilities.bundles import (
    EVENT_CONTESTED,
    EVENT_DRIFT_CORRECTED,
    EVENT_PRUNED,
    REASON_CONTESTED,
    REASON_DRIFT_CORRECTED,
    REASON_PRUNED,
    BundleEntry,
)
from fleetbus.schemas.events import Happened

MOST_IN_ONE_PASS = 16


def drift_corrected(entry: BundleEntry, steps: Sequence[ApplyStep]) -> list[Happened]:
    """One for each object that was put back; beyond MOST_IN_ONE_PASS the rest are one with their count."""
    told = [
        Happened(
            type=EVENT_DRIFT_CORRECTED,
            subject=f"bundle/{entry.name}",
            reason=REASON_DRIFT_CORRECTED,
            message=_put_back(step),
            details={"object": step.desired.key.shown(), "manager": step.editor},
        )
        for step in steps[:MOST_IN_ONE_PASS]
    ]
    rest = len(steps) - len(told)
    if rest > 0:
        told.append(
            Happened(
                type=EVENT_DRIFT_CORRECTED,
                subject=f"bundle/{entry.name}",
                reason=REASON_DRIFT_CORRECTED,
                message=f"{rest} more objects were put back",
                details={"count": rest},
            )
        )
    return told


def _put_back(step: ApplyStep) -> str:
    shown = step.desired.key.shown()
    if step.editor == DELETED:
        return f"{shown} was deleted, and is there again"
    return f"{shown} was changed by {step.editor or 'somebody'}, and put back"


def contested(entry: BundleEntry, key: ObjectKey, contest: Contest) -> Happened:
    return Happened(
        type=EVENT_CONTESTED,
        subject=f"bundle/{entry.name}",
        reason=REASON_CONTESTED,
        message=f"{key.shown()}: {contest.message()}",
        severity="Warning",
        details={"object": key.shown(), "manager": contest.editor},
    )


def pruned(entry: BundleEntry, keys: Sequence[ObjectKey]) -> Happened:
    named = ", ".join(key.shown() for key in keys[:3])
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return Happened(
        type=EVENT_PRUNED,
        subject=f"bundle/{entry.name}",
        reason=REASON_PRUNED,
        message=f"{named}{more}",
        details={"count": len(keys)},
    )
