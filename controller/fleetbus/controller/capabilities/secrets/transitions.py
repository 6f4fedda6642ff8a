"""Which events a binding's status tells: of the whole; what happens in one cluster, its agent tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetbus.controller.decisions.held import shrunk_key
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.secrets import SecretBindingDetails
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened, Severity

_BY_ITSELF = (words.REASON_CLUSTERS_AWAY,)


def transitions(document: Stored, old: Status | None, new: Status) -> Sequence[Happened]:
    was = old.conditions if old else ()
    bound = find(was, words.BOUND), find(new.conditions, words.BOUND)
    placed = find(was, words.PLACED), find(new.conditions, words.PLACED)
    synced = find(was, words.SYNCED), find(new.conditions, words.SYNCED)
    return (*_bound(document, *bound), *_held(document, old, *placed), *_synced(document, *synced))


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


def _held(
    document: Stored, old: Status | None, was: Condition | None, now: Condition | None
) -> Iterator[Happened]:
    """A loss of clusters that begins to be held, and one that ends because somebody let it go."""
    is_held = now is not None and now.reason == words.REASON_HELD
    was_held = was is not None and was.reason == words.REASON_HELD
    if now is not None and is_held and not was_held:
        yield _event(document, words.EVENT_HELD, now, "Warning")
    if was_held and not is_held and old is not None:
        details = SecretBindingDetails.from_json(old.details)
        if details.shrunk_at and shrunk_key(details.shrunk_at) in document.released_prune:
            yield Happened(
                type=words.EVENT_HOLD_RELEASED,
                subject=f"secretbinding/{document.name}",
                reason=words.REASON_HOLD_RELEASED,
                message=f"{len(details.held_clusters)} Secrets were let go",
            )


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
