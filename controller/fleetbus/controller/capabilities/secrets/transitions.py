"""Which events a binding's status tells: of the whole; what happens in one cluster, its agent tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened, Severity

_BY_ITSELF = (words.REASON_CLUSTERS_AWAY,)


def transitions(document: Stored, old: Status | None, new: Status) -> Sequence[Happened]:
    was = old.conditions if old else ()
    bound = find(was, words.BOUND), find(new.conditions, words.BOUND)
    synced = find(was, words.SYNCED), find(new.conditions, words.SYNCED)
    return (*_bound(document, *bound), *_synced(document, *synced))


def _bound(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    if now is None or (was is not None and (was.status, was.reason) == (now.status, now.reason)):
        return
    if now.reason == words.REASON_REVOKED:
        yield _event(document, words.EVENT_REVOKED, now)
    elif now.reason == words.REASON_DELETED:
        yield _event(document, words.EVENT_DELETED, now)
    elif now.status == "False":
        yield _event(document, words.EVENT_FAILED, now, "Warning")
    elif now.status == "True":
        yield _event(document, words.EVENT_BOUND, now)


def _synced(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    """All clusters have what is wanted, and did not before; one that comes back is no news."""
    if now is None or now.status != "True" or (was is not None and was.reason in _BY_ITSELF):
        return
    if was is not None and (was.status, was.reason) == (now.status, now.reason):
        return
    if now.reason == words.REASON_REVOKED:
        yield _event(document, words.EVENT_REMOVED, now)
    elif now.reason == words.REASON_SYNCED and not now.message.endswith(" 0 clusters"):
        yield _event(document, words.EVENT_SYNCED, now)


def _event(document: Stored, type_: str, condition: Condition, severity: Severity = "Normal") -> Happened:
    return Happened(
        type=type_,
        subject=f"secretbinding/{document.name}",
        reason=condition.reason,
        message=condition.message,
        severity=severity,
    )
