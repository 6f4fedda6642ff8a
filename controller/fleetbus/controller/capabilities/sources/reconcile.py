"""A Source: ask the repository what its ref names, fetch that, and say so. The last good revision stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from fleetbus.controller.capabilities.sources.git import check_local, read_revision
from fleetbus.controller.ports import Capability, Change, Key, Outcome, Ports, View
from fleetbus.schemas.capabilities import sources as words
from fleetbus.schemas.capabilities.sources import Git, SourceDetails, SourceSpec
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.durations import seconds_of
from fleetbus.schemas.errors import FleetbusError, RevisionNotFound, SettingsInvalid, Transient
from fleetbus.schemas.events import Happened

LEAST_INTERVAL_S = 1.0
RETRY_S = 15.0

ReadRevision = Callable[[Git, Path, Path | None, SourceDetails], Awaitable[SourceDetails]]


def capability(read: ReadRevision = read_revision) -> Capability:
    """The capability with a way to read repositories; the simulation brings its own."""

    async def reconcile(document: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
        return await _reconcile(read, document, view, ports, now)

    return Capability(
        name=words.CAPABILITY,
        kind="Source",
        reconcile=reconcile,
        transitions=transitions,
        affected=affected,
    )


async def _reconcile(
    read: ReadRevision, document: Stored, view: View, ports: Ports, now: datetime
) -> Outcome:
    status = view.statuses.get(document.key)
    known = SourceDetails.from_json(status.details) if status else SourceDetails()
    if document.deleting is not None:
        message = "it is deleted; bundles that name it keep what they have"
        condition = _condition(document, now, "Unknown", words.REASON_DELETED, message)
        return Outcome([condition], known.as_json(), removable=True)
    spec = SourceSpec.model_validate(document.spec)
    interval_s = seconds_of(spec.interval, least=LEAST_INTERVAL_S)
    try:
        await check_local(spec.git, ports.local_sources)
        found = await read(spec.git, ports.work_dir, ports.credentials_dir, known)
    except FleetbusError as error:
        again_s = min(interval_s, RETRY_S) if isinstance(error, Transient) else interval_s
        return Outcome(
            [_failed(document, known, error, now)], known.as_json(), again_in_s=ports.clock.jitter(again_s)
        )
    if found.commit != known.commit or found.fetched_at is None:
        found = found.model_copy(update={"fetched_at": now})
    condition = _condition(document, now, "True", words.REASON_FETCHED, found.revision)
    return Outcome([condition], found.as_json(), again_in_s=ports.clock.jitter(interval_s, 0.1))


def _failed(document: Stored, known: SourceDetails, error: FleetbusError, now: datetime) -> Condition:
    match error:
        case RevisionNotFound():
            reason = words.REASON_REVISION_NOT_FOUND
        case SettingsInvalid():
            reason = words.REASON_INVALID
        case _:
            reason = words.REASON_UNREACHABLE
    keeps = f" (it stays at {known.revision})" if known.commit else ""
    return _condition(document, now, "False", reason, f"source/{document.name}: {error.sentence()}{keeps}")


def _condition(document: Stored, now: datetime, status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate(
        {
            "type": words.FETCHED,
            "status": status,
            "reason": reason,
            "message": message,
            "last_transition_at": now,
            "observed_generation": document.generation,
        }
    )


def affected(change: Change, view: View) -> Iterable[Key]:
    """Only itself; the rest is time and `asked`."""
    if change.what == "document" and change.kind == "Source":
        yield ("Source", change.name)


def transitions(document: Stored, old: Status | None, new: Status) -> Sequence[Happened]:
    """A new commit, a failure of another kind, a deletion."""
    before = SourceDetails.from_json(old.details) if old else SourceDetails()
    after = SourceDetails.from_json(new.details)
    was = find(old.conditions, words.FETCHED) if old else None
    now = find(new.conditions, words.FETCHED)
    if now is None:
        return ()
    subject = f"source/{document.name}"
    happened: list[Happened] = []
    if after.commit and after.commit != before.commit:
        text = f"{after.revision} {after.subject!r} by {after.author}" if after.subject else after.revision
        happened.append(
            Happened(
                type=words.EVENT_FETCHED,
                subject=subject,
                reason=words.REASON_FETCHED,
                message=text,
                details={"ref": after.ref, "commit": after.commit, "revision": after.revision},
            )
        )
    if now.status == "False" and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        happened.append(
            Happened(
                type=words.EVENT_FAILED,
                subject=subject,
                reason=now.reason,
                message=now.message,
                severity="Warning",
            )
        )
    if now.reason == words.REASON_DELETED and (was is None or was.reason != now.reason):
        happened.append(
            Happened(type=words.EVENT_DELETED, subject=subject, reason=now.reason, message=now.message)
        )
    return tuple(happened)
