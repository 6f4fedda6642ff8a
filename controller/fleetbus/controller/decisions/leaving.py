"""The status of a cluster that was taken out of the fleet, and the events that tell of it, each once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from fleetbus.schemas import conditions
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.documents import Departure, Status, Stored, Tombstone
from fleetbus.schemas.enrolment import Left
from fleetbus.schemas.events import Happened, Severity

_REASONS = {"revoked": words.REASON_REVOKED, "retired": words.REASON_RETIRED}


def departed(
    before: Tombstone | None, how: Left, now: datetime, *, by: str, reason: str = "", purge: bool = False
) -> Tombstone:
    """What becomes of a cluster's tombstone when it is told to leave, again or for the first time.

    One that left in peace may be revoked later, not the other way; one that goes does not stay.
    """
    if before is None or before.left is None:
        left = Departure(how=how, reason=reason, stays=before is None and not purge)
        return Tombstone(at=now, policy="Keep", by=by, left=left)
    stays = before.left.stays and not purge
    if (how, before.left.how) == ("revoked", "retired"):
        left = Departure(how=how, reason=reason, stays=stays)
        return before.model_copy(update={"at": now, "by": by, "left": left})
    return before.model_copy(update={"left": before.left.model_copy(update={"stays": stays})})


def leaving_status(stored: Stored, before: Status | None, now: datetime) -> Status:
    """It has left, and once nothing of it is to stay: it goes. `stored` is a tombstone."""
    base = before or Status(kind=stored.kind, name=stored.name, uid=stored.uid)
    tombstone = stored.deleting
    assert tombstone is not None
    told = conditions.find(base.conditions, words.LEAVING)
    wanted = _reason(tombstone)
    if told is not None and told.reason == wanted:
        return base
    condition, why = conditions.looked(now, stored.generation), _because(tombstone)
    found = (
        condition(words.LEAVING, "True", wanted, why),
        *(
            condition(one, "Unknown", words.REASON_DISCONNECTED, "its credentials count no more")
            for one in (words.CONNECTED, words.RESPONSIVE)
        ),
        condition(conditions.READY, "False", wanted, why),
    )
    was_told = told is not None and not (told.reason == words.REASON_RETIRED and _is_revoked(tombstone))
    happened = [*([] if was_told else _left(stored, tombstone, why)), *_going(stored, tombstone)]
    return base.model_copy(
        update={
            "observed_generation": stored.generation,
            "conditions": conditions.put(base.conditions, *found),
            "outbox": base.outbox.with_(now, *happened),
        }
    )


def _reason(tombstone: Tombstone) -> str:
    left = tombstone.left
    return _REASONS[left.how] if left is not None and left.stays else words.REASON_LEAVING


def _is_revoked(tombstone: Tombstone) -> bool:
    return tombstone.left is not None and tombstone.left.how == "revoked"


def _because(tombstone: Tombstone) -> str:
    left = tombstone.left
    why = f": {left.reason}" if left and left.reason else ""
    return f"{left.how if left else 'removed'} by {tombstone.by}{why}; its workloads stay"


def _left(stored: Stored, tombstone: Tombstone, why: str) -> Iterator[Happened]:
    how = tombstone.left.how if tombstone.left else ""
    if how == "revoked":
        yield _event(stored, words.EVENT_REVOKED, words.REASON_REVOKED, why, "Warning")
    elif how == "retired":
        yield _event(stored, words.EVENT_RETIRED, words.REASON_RETIRED, why)


def _going(stored: Stored, tombstone: Tombstone) -> Iterator[Happened]:
    if not tombstone.stays:
        message = "its document, mailboxes and states go; its workloads stay"
        yield _event(stored, words.EVENT_REMOVED, words.REASON_LEAVING, message)


def _event(stored: Stored, type_: str, reason: str, message: str, severity: Severity = "Normal") -> Happened:
    return Happened(
        type=type_,
        subject=f"cluster/{stored.name}",
        reason=reason,
        message=message,
        severity=severity,
        details={"cluster": stored.name, "key": str(stored.spec.get("key") or "")},
    )
