"""One event in one line: as `events` and `describe` write it, on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleetbus.cli.table import Cell
from fleetbus.cli.text import clock_time, parse_time, rfc3339

TITLES = ["TIME", "TYPE", "REASON", "CLUSTER", "OBJECT", "MESSAGE"]
WIDTHS = (8, 7, 18, 10, 18)
"""Least widths, so that lines written one by one stand below each other."""

_AWAY = ("Disconnected", "HeartbeatMissed", "Flapping")


@dataclass(frozen=True, slots=True)
class EventLine:
    """What is shown of a CloudEvent. `cluster` is `-` for an event of the whole fleet."""

    at: datetime
    severity: str
    reason: str
    cluster: str
    object: str
    message: str

    @property
    def token(self) -> str:
        if self.reason in _AWAY:
            return "away"
        if self.severity != "Warning":
            return ""
        return "bad" if self.reason.endswith(("Failing", "Failed", "Refused")) else "warn"

    def cells(self) -> list[Cell]:
        """On a terminal, below TITLES."""
        return [
            Cell(clock_time(self.at)),
            Cell(self.severity, "warn" if self.severity == "Warning" else ""),
            Cell(self.reason, self.token),
            Cell(self.cluster),
            Cell(self.object),
            Cell(self.message),
        ]

    def plain(self) -> str:
        """In a pipe."""
        start = f"{rfc3339(self.at)} {self.severity} {self.reason} {self.cluster} {self.object}"
        return f"{start} {self.message}".rstrip()


def event_line(event: Mapping[str, Any]) -> EventLine:
    """What is shown of a CloudEvent; what it lacks becomes `-`."""
    body = event.get("data")
    body = body if isinstance(body, Mapping) else {}
    return EventLine(
        at=parse_time(event.get("time")) or datetime.fromtimestamp(0, UTC),
        severity=str(event.get("severity") or "Normal"),
        reason=str(body.get("reason") or "-"),
        cluster=cluster_of(event) or "-",
        object=str(event.get("subject") or "-"),
        message=str(body.get("message") or ""),
    )


def cluster_of(event: Mapping[str, Any]) -> str:
    """The cluster that an event's source names; '' for the whole fleet."""
    _, found, cluster = str(event.get("source", "")).partition("/clusters/")
    return cluster if found else ""
