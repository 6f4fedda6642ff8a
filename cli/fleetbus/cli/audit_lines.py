"""Audit records as rows, and what a walk along the chain has found. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE, counted, rfc3339
from fleetbus.schemas.api import AuditRow
from fleetbus.schemas.audit import OUTCOME_REFUSED, AuditRecord, Walk
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.subjects import parse_audit

TITLES: Final = ("TIME", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "WHY")
WIDE_TITLES: Final = (
    *("NUMBER", "TIME", "ACTOR", "KEY", "ACTION", "OBJECT", "GENERATION", "OUTCOME"),
    *("COUNT", "CHANGED", "WHY"),
)
_UNREADABLE: Final = "<unreadable>"


@dataclass(frozen=True, slots=True)
class Stored:
    """One record as it was read; `record` None when it is none."""

    subject: str
    envelope: bytes
    record: AuditRecord | None

    @property
    def name(self) -> str:
        return f"audit/{parse_audit(self.subject) or 0}"

    def as_json(self) -> dict[str, Any]:
        if self.record is None:
            return {"subject": self.subject, "unreadable": self.envelope.decode("utf-8", "backslashreplace")}
        return {**self.record.as_json(), "digest": digest(self.envelope.partition(b"\n")[2])}


def stored(row: AuditRow) -> Stored:
    """The row with its record read; verified it is not."""
    envelope = row.envelope.encode("utf-8", "backslashreplace")
    try:
        record = AuditRecord.from_bytes(unverified(envelope))
    except MessageMalformed:
        record = None
    return Stored(row.subject, envelope, record)


def cells(found: Stored, *, wide: bool) -> list[Cell]:
    """Below TITLES, or below WIDE_TITLES. Only the last may hold blanks."""
    record = found.record
    if record is None:
        blank = [Cell(NONE)] * (len(WIDE_TITLES if wide else TITLES) - 2)
        return [Cell(found.name if wide else NONE), *blank, Cell(_UNREADABLE, "bad")]
    refused = record.outcome == OUTCOME_REFUSED
    shown = {
        "NUMBER": Cell(str(record.number)),
        "TIME": Cell(rfc3339(record.at)),
        "ACTOR": _word(record.actor, "name"),
        "KEY": _word(record.key),
        "ACTION": _word(record.action),
        "OBJECT": _word(record.object),
        "GENERATION": Cell(f"{record.generation_before}>{record.generation_after}"),
        "OUTCOME": _word(record.outcome, "bad" if refused else ""),
        "COUNT": Cell(str(record.count)),
        "CHANGED": _word(",".join(edit.path for edit in record.edits)),
        "WHY": Cell(_why(record, refused) or NONE),
    }
    return [shown[title] for title in (WIDE_TITLES if wide else TITLES)]


def _word(text: str, token: str = "") -> Cell:
    return Cell(text.replace(" ", "-") or NONE, token)


def _why(record: AuditRecord, refused: bool) -> str:
    if not refused:
        return record.reason
    times = f" ({record.count} times)" if record.count > 1 else ""
    return f"{record.code} {record.message}{times}"


def verdict(walk: Walk, fleet: str, keys: Sequence[str], newest: str) -> dict[str, Any]:
    """What `verify -o json` prints."""
    return {
        "fleet": fleet,
        "first": walk.first,
        "last": str(walk.last) if walk.last and walk.last.number else "",
        "newest": newest,
        "records": walk.records,
        "wrong": walk.wrong,
        "unsigned": walk.unsigned,
        "findings": [{"number": one.number, "message": one.message} for one in walk.findings],
        "keys": list(keys),
    }


def summary(walk: Walk) -> str:
    """`412 records, 1 to 412`."""
    last = walk.last.number if walk.last else 0
    span = f", {walk.first} to {last}" if walk.records else ""
    return f"{counted(walk.records, 'record')}{span}"
