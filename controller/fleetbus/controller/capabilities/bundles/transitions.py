"""Which events a bundle's status tells: of the whole bundle; what happens in one cluster, its agent tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetbus.controller.capabilities.bundles.holds import holds
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleDetails
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened, Severity

_HOLDS = (words.REASON_PRUNE_HELD, words.REASON_PLACEMENT_SHRANK)


def transitions(document: Stored, old: Status | None, new: Status) -> Sequence[Happened]:
    before = BundleDetails.from_json(old.details) if old else BundleDetails()
    after = BundleDetails.from_json(new.details)
    was = old.conditions if old else ()
    now = new.conditions
    return (
        *_rendered(document, before, after, find(was, words.RENDERED), find(now, words.RENDERED)),
        *_placed(document, before, after),
        *_held(document, old, new),
        *_healthy(document, before, after, was, now),
        *_deleted(document, find(was, words.APPLIED), find(now, words.APPLIED)),
    )


def _rendered(
    document: Stored,
    before: BundleDetails,
    after: BundleDetails,
    was: Condition | None,
    now: Condition | None,
) -> Iterator[Happened]:
    if after.artifact and after.artifact != before.artifact:
        message = f"{after.artifact_revision}: {after.objects} objects"
        yield _event(
            document,
            words.EVENT_RENDERED,
            words.REASON_RENDERED,
            message,
            revision=after.artifact_revision,
            artifact=after.artifact,
            objects=after.objects,
        )
    if now is None or now.status != "False" or now.reason in _HOLDS:
        return
    if was is None or (was.status, was.reason, was.message) != (now.status, now.reason, now.message):
        yield _warning(document, words.EVENT_RENDER_FAILED, now)


def _placed(document: Stored, before: BundleDetails, after: BundleDetails) -> Iterator[Happened]:
    if document.deleting is not None:
        return
    came, went = sorted({*after.placed} - {*before.placed}), sorted({*before.placed} - {*after.placed})
    if came or went:
        parts = [
            f"+{len(came)} ({_names(came)})" if came else "",
            f"-{len(went)} ({_names(went)})" if went else "",
        ]
        message = f"{' '.join(filter(None, parts))}: now on {len(after.placed)} clusters"
        yield _event(
            document,
            words.EVENT_PLACED,
            words.REASON_PLACED,
            message,
            clusters=len(after.placed),
            added=len(came),
            removed=len(went),
        )


def _held(document: Stored, old: Status | None, new: Status) -> Iterator[Happened]:
    """Holds that begin, and those that have ended because somebody let them go."""
    before, after = holds(old), holds(new)
    for hold in after:
        if hold.key not in {one.key for one in before}:
            message = f"{hold.what}: {hold.count} objects stay until they are let go by their count"
            yield _event(
                document,
                words.EVENT_HELD,
                hold.reason,
                f"{message}; fleetbus release bundle/{document.name} --prune {hold.count}",
                severity="Warning",
                objects=hold.count,
            )
    for hold in before:
        if hold.key in document.released_prune and hold.key not in {one.key for one in after}:
            message = f"{hold.what}: {hold.count} objects were let go"
            yield _event(document, words.EVENT_RELEASED, words.REASON_RELEASED, message, objects=hold.count)


def _healthy(
    document: Stored,
    before: BundleDetails,
    after: BundleDetails,
    was: Sequence[Condition],
    now: Sequence[Condition],
) -> Iterator[Happened]:
    """All clusters have what is wanted and are healthy, and that is news: a cluster's return alone is none."""
    if document.deleting is not None or not (after.artifact and after.placed) or _unwell(now):
        return
    same = (before.artifact, before.placed) == (after.artifact, after.placed)
    if same and all(reason == words.REASON_CLUSTERS_AWAY for reason in _unwell(was)):
        return
    count = len(after.placed)
    yield _event(
        document,
        words.EVENT_HEALTHY,
        words.REASON_HEALTHY,
        f"{after.artifact_revision} is healthy on {count} of {count} clusters",
        revision=after.artifact_revision,
        clusters=count,
    )


def _unwell(conditions: Sequence[Condition]) -> list[str]:
    """Why not all clusters have it and are healthy; nothing when they are."""
    found = [find(conditions, type_) for type_ in (words.APPLIED, words.HEALTHY)]
    return ["" if one is None else one.reason for one in found if one is None or one.status != "True"]


def _deleted(document: Stored, was: Condition | None, now: Condition | None) -> Iterator[Happened]:
    done = now is not None and now.reason == words.REASON_DELETED
    if done and now is not None and (was is None or was.reason != words.REASON_DELETED):
        yield _event(document, words.EVENT_DELETED, words.REASON_DELETED, now.message)


def _warning(document: Stored, type_: str, condition: Condition) -> Happened:
    return _event(document, type_, condition.reason, condition.message, severity="Warning")


def _event(
    document: Stored,
    type_: str,
    reason: str,
    message: str,
    *,
    severity: Severity = "Normal",
    **details: str | int | float | bool,
) -> Happened:
    return Happened(
        type=type_,
        subject=f"bundle/{document.name}",
        reason=reason,
        message=message,
        severity=severity,
        details=details,
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
