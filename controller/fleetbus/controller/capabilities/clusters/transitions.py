"""Which events a cluster's status tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        *_seen(document, before, after, find(was, words.CONNECTED), find(new.conditions, words.CONNECTED)),
        *_refused(document, find(was, words.SYNCED), find(new.conditions, words.SYNCED)),
    )


def _seen(
    document: Stored,
    before: ClusterDetails,
    after: ClusterDetails,
    was: Condition | None,
    now: Condition | None,
) -> Iterator[Happened]:
    if after.registered and not before.registered:
        message = f"Kubernetes {after.kubernetes_version}, {after.nodes} nodes, agent {after.agent_version}"
        yield _event(document, words.EVENT_REGISTERED, words.REASON_REGISTERED, message)
    elif after.agent_started_at != before.agent_started_at and before.agent_started_at is not None:
        yield _event(
            document, words.EVENT_SESSION, words.REASON_AGENT_STARTED, f"agent {after.agent_version}"
        )
    if was is None or now is None:
        return
    if now.status == "True" and was.reason == words.REASON_DISCONNECTED:
        yield _event(document, words.EVENT_CONNECTED, now.reason, "it is heard again")
    if now.reason == words.REASON_DISCONNECTED and was.reason != now.reason:
        yield _event(document, words.EVENT_DISCONNECTED, now.reason, "no heartbeat", "Warning")


def _refused(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    if now is None or now.reason not in _REFUSALS:
        return
    if was is None or (was.reason, was.message) != (now.reason, now.message):
        yield _event(document, words.EVENT_MESSAGE_REFUSED, now.reason, now.message, "Warning")


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
