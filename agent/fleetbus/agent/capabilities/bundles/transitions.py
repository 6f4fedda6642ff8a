"""What a changed body tells: events are made where the state of a bundle turns, never at an attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetbus.schemas.capabilities.bundles import (
    APPLIED,
    EVENT_APPLIED,
    EVENT_APPLY_FAILED,
    EVENT_FAILING,
    EVENT_HEALTHY,
    EVENT_HELD,
    EVENT_REMOVED,
    HEALTHY,
    REASON_APPLIED,
    REASON_HEALTHY,
    REASON_PRUNE_HELD,
    REASON_REMOVED,
    BundlesState,
    BundleState,
)
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.events import Happened


def transitions(aspect: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Happened]:
    """The events between two bodies of a `bundles` aspect."""
    before = {one.id: one for one in _parsed(old).bundles}
    told: list[Happened] = []
    for state in _parsed(new).bundles:
        told.extend(_bundle(before.get(state.id) or BundleState(id=state.id, name=state.name), state))
    return told


def _parsed(body: Mapping[str, Any]) -> BundlesState:
    try:
        return BundlesState.from_json(dict(body))
    except FleetbusError:
        return BundlesState()


def _bundle(old: BundleState, new: BundleState) -> Iterator[Happened]:
    if new.removed:
        if not old.removed:
            yield _happened(
                EVENT_REMOVED, new, REASON_REMOVED, f"{new.pruned} objects removed", pruned=new.pruned
            )
        return
    applied, healthy = find(new.conditions, APPLIED), find(new.conditions, HEALTHY)
    if new.applied_artifact and new.applied_artifact != old.applied_artifact:
        message = f"{new.objects} objects at {new.revision}" if new.revision else f"{new.objects} objects"
        yield _happened(
            EVENT_APPLIED, new, REASON_APPLIED, message, revision=new.revision, artifact=new.applied_artifact
        )
    if _turned(find(old.conditions, APPLIED), applied, "False") and applied is not None:
        held = applied.reason == REASON_PRUNE_HELD
        if not held:
            yield _warning(EVENT_APPLY_FAILED, new, applied)
    if new.held_prunes and new.held_prunes != old.held_prunes:
        message = f"would prune {new.held_prunes} objects; nothing was pruned"
        yield _happened(
            EVENT_HELD, new, REASON_PRUNE_HELD, message, severity="Warning", count=new.held_prunes
        )
    if healthy is not None and _turned(find(old.conditions, HEALTHY), healthy, "False"):
        yield _warning(EVENT_FAILING, new, healthy)
    if healthy is not None and _turned(find(old.conditions, HEALTHY), healthy, "True"):
        yield _happened(EVENT_HEALTHY, new, REASON_HEALTHY, healthy.message)


def _turned(old: Condition | None, new: Condition | None, status: str) -> bool:
    """Whether `new` has this status for a reason that `old` did not have."""
    if new is None or new.status != status:
        return False
    return old is None or old.status != status or (status == "False" and old.reason != new.reason)


def _happened(
    type_: str,
    state: BundleState,
    reason: str,
    message: str,
    *,
    severity: Any = "Normal",
    **details: str | int,
) -> Happened:
    return Happened(
        type=type_,
        subject=f"bundle/{state.name}",
        reason=reason,
        message=message,
        severity=severity,
        details={key: value for key, value in details.items() if value != ""},
    )


def _warning(type_: str, state: BundleState, condition: Condition) -> Happened:
    return _happened(
        type_, state, condition.reason, condition.message, severity="Warning", revision=state.revision
    )
