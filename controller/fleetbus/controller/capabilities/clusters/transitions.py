"""Which events a cluster's status tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetbus.schemas.approvals import Approver, ProtectionState, Waiting, approvals_missing
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.capabilities.clusters import ClusterDetails
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened, Severity

_REFUSALS = (words.REASON_STATE_REFUSED, words.REASON_DESIRED_REFUSED)


def transitions(document: Stored, old: Status | None, new: Status) -> Sequence[Happened]:
    before = ClusterDetails.from_json(old.details) if old else ClusterDetails()
    after = ClusterDetails.from_json(new.details)
    was = old.conditions if old else ()
    return (
        *_agents(document, before, after),
        *_seen(document, find(was, words.CONNECTED), find(new.conditions, words.CONNECTED)),
        *_heard(document, find(was, words.RESPONSIVE), find(new.conditions, words.RESPONSIVE)),
        *_crowded(document, find(was, words.NAME_UNIQUE), find(new.conditions, words.NAME_UNIQUE)),
        *_refused(document, find(was, words.SYNCED), find(new.conditions, words.SYNCED)),
        *_approvals(document, before.protection, after.protection),
    )


def _agents(document: Stored, before: ClusterDetails, after: ClusterDetails) -> Iterator[Happened]:
    if after.registered and not before.registered:
        message = f"Kubernetes {after.kubernetes_version}, {after.nodes} nodes, agent {after.agent_version}"
        yield _event(document, words.EVENT_REGISTERED, words.REASON_REGISTERED, message)
    elif after.agent_started_at != before.agent_started_at and before.agent_started_at is not None:
        yield _event(
            document, words.EVENT_SESSION, words.REASON_AGENT_STARTED, f"agent {after.agent_version}"
        )


def _seen(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    """Each turn once. While it flaps nothing is told; when it has ended, how it is then."""
    if was is None or now is None or was.reason == now.reason:
        return
    if now.status == "True" and was.reason in (words.REASON_DISCONNECTED, words.REASON_FLAPPING):
        yield _event(document, words.EVENT_CONNECTED, now.reason, "it is connected again")
    elif now.reason == words.REASON_DISCONNECTED:
        yield _event(document, words.EVENT_DISCONNECTED, now.reason, now.message, "Warning")
    elif now.reason == words.REASON_FLAPPING:
        yield _event(document, words.EVENT_FLAPPING, now.reason, now.message, "Warning")


def _heard(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    if was is None or now is None:
        return
    if now.reason == words.REASON_FLOODING:
        if was.reason != now.reason:
            yield _event(document, words.EVENT_FLOODING, now.reason, now.message, "Warning")
    elif now.status == "False" and was.status != "False":
        yield _event(document, words.EVENT_UNRESPONSIVE, now.reason, now.message, "Warning")
    elif now.status == "True" and was.status == "False":
        yield _event(document, words.EVENT_RESPONSIVE, now.reason, "its heartbeats come again")


def _crowded(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    if now is not None and now.reason == words.REASON_TOO_MANY and (was is None or was.reason != now.reason):
        yield _event(document, words.EVENT_TOO_MANY, now.reason, now.message, "Warning")


def _refused(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    if now is None or now.reason not in _REFUSALS:
        return
    if was is None or (was.reason, was.message) != (now.reason, now.message):
        yield _event(document, words.EVENT_MESSAGE_REFUSED, now.reason, now.message, "Warning")


def _approvals(
    document: Stored, before: ProtectionState | None, after: ProtectionState | None
) -> Iterator[Happened]:
    """What begins to wait, each approval that its agent counts, and what waits no longer since it has enough."""
    if (before is None) != (after is None) or (before and after and _rules(before) != _rules(after)):
        required = f"{after.required} of {len(after.approvers)} approvers" if after else "nobody's approval"
        reason = words.REASON_PROTECTED if after else words.REASON_NOT_PROTECTED
        yield _event(document, words.EVENT_PROTECTED, reason, f"its owner asks for {required}", "Warning")
    if after is None:
        return
    was = {_waits_for(one): one for one in (before.waiting if before else ())}
    for one in after.waiting:
        known = was.pop(_waits_for(one), None)
        message = approvals_missing(one, document.name)
        if known is None:
            yield _event(document, words.EVENT_APPROVAL_NEEDED, words.REASON_APPROVAL_MISSING, message)
        elif set(one.approved_by) - set(known.approved_by):
            yield _event(document, words.EVENT_APPROVAL_GIVEN, words.REASON_APPROVAL_GIVEN, message)
    if before is not None and after.turn > before.turn:
        message = f"set {after.set[:12]} has its approvals"
        yield _event(document, words.EVENT_APPROVED, words.REASON_APPROVED, message)


def _rules(one: ProtectionState) -> tuple[int, tuple[Approver, ...]]:
    return one.required, one.approvers


def _waits_for(one: Waiting) -> tuple[str, ...]:
    return (one.kind, one.digest, one.command, *sorted(one.prunes))


def _event(
    document: Stored, type_: str, reason: str, message: str, severity: Severity = "Normal"
) -> Happened:
    return Happened(
        type=type_,
        subject=f"cluster/{document.name}",
        reason=reason,
        message=message,
        severity=severity,
        details={"cluster": document.name},
    )
