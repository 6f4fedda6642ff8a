"""What a changed list of results tells: the events of each command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.events import Happened, Severity
from fleetbus.schemas.states import CommandResult, Results

_ENDS: Mapping[str, tuple[str, str, Severity]] = {
    schema.PHASE_SUCCEEDED: (schema.EVENT_SUCCEEDED, schema.REASON_SUCCEEDED, "Normal"),
    schema.PHASE_FAILED: (schema.EVENT_FAILED, schema.REASON_FAILED, "Warning"),
    schema.PHASE_EXPIRED: (schema.EVENT_EXPIRED, schema.REASON_EXPIRED, "Warning"),
    schema.PHASE_CANCELLED: (schema.EVENT_CANCELLED, schema.REASON_CANCELLED, "Normal"),
    schema.PHASE_REFUSED: (schema.EVENT_REFUSED, schema.REASON_REFUSED, "Warning"),
}


def transitions(aspect: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Happened]:
    before = {result.id: result for result in Results.from_json(old).commands}
    return [
        happened
        for result in Results.from_json(new).commands
        for happened in _of(before.get(result.id), result)
    ]


def _of(old: CommandResult | None, new: CommandResult) -> Iterator[Happened]:
    if new.started_at is not None and (old is None or old.started_at is None):
        yield _said(new, schema.EVENT_STARTED, schema.REASON_STARTED, "Normal", f"driver {new.driver}")
    if new.phase in _ENDS and (old is None or old.phase != new.phase):
        type_, reason, severity = _ENDS[new.phase]
        yield _said(new, type_, reason, severity, new.message)


def _said(result: CommandResult, type_: str, reason: str, severity: Severity, message: str) -> Happened:
    return Happened(
        type=type_,
        subject=f"command/{result.id}",
        reason=reason,
        message=message,
        severity=severity,
        details={"driver": result.driver, "phase": result.phase, "progressPercent": result.progress_percent},
    )
