"""The columns of `get`, a tuple a kind. Each cell is read from a document and from what is known only now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleetbus.cli import view
from fleetbus.cli.table import Cell, cell
from fleetbus.cli.text import NONE, UNKNOWN, age, duration, parse_time, short_revision
from fleetbus.cli.view import Json

_LATE_S = 30.0
"""Two heartbeats: later than that is shown in yellow."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of an answer, and when it is looked at."""

    document: Json
    live: Json
    now: datetime

    @property
    def details(self) -> Json:
        return view.details(self.document)


Read = Callable[[Seen], Cell | str]


@dataclass(frozen=True, slots=True)
class Column:
    """`wide`: only with `-o wide`."""

    title: str
    read: Read
    wide: bool = False

    def cell(self, seen: Seen) -> Cell:
        """One word: no blanks, so that every tool can split the line."""
        found = cell(self.read(seen))
        text = found.text.replace(" ", "-") if found.text else NONE
        return Cell(text, found.token)


def _name(seen: Seen) -> Cell:
    return Cell(view.name_of(seen.document), "name")


def _ready(seen: Seen) -> Cell:
    ready = view.condition(seen.document, view.READY)
    return Cell(str(ready.get("status", "Unknown")), view.token(ready))


def _reason(seen: Seen) -> Cell:
    ready = view.condition(seen.document, view.READY)
    return Cell(str(ready.get("reason") or "NotObserved"), view.token(ready))


def _age(seen: Seen) -> str:
    return age(view.metadata(seen.document).get("createdAt"), seen.now)


def _detail(name: str) -> Read:
    return lambda seen: str(seen.details.get(name) or "")


def _share(part: str, whole: str) -> Read:
    return lambda seen: f"{_count(seen.details, part)}/{_count(seen.details, whole)}"


def _number(name: str) -> Read:
    return lambda seen: str(_count(seen.details, name))


def _count(details: Json, name: str) -> int:
    value = details.get(name, 0)
    return len(value) if isinstance(value, (list, tuple)) else value if isinstance(value, int) else 0


def _last_seen(seen: Seen) -> Cell | str:
    """From the controller's own measure, so that two clocks do not have to agree."""
    seconds = seen.live.get("lastSeenS")
    if isinstance(seconds, (int, float)):
        return Cell(duration(seconds), "warn" if seconds > _LATE_S else "")
    at = parse_time(seen.live.get("lastSeenAt"))
    if at is None:
        return UNKNOWN
    return Cell(age(seen.live.get("lastSeenAt"), seen.now))


def _nodes(seen: Seen) -> str:
    return str(seen.details["nodes"]) if seen.details.get("kubernetesVersion") else UNKNOWN


def _labels(seen: Seen) -> str:
    labels = view.metadata(seen.document).get("labels")
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else ""


def _connected_to(seen: Seen) -> str:
    return str(seen.live.get("server") or "")


def _revision(seen: Seen) -> str:
    return short_revision(str(seen.details.get("revision") or ""))


def _source_revision(seen: Seen) -> str:
    details = seen.details
    ref, commit = details.get("ref"), details.get("commit")
    return short_revision(f"{ref}@sha1:{commit}") if commit else ""


def _drifted(seen: Seen) -> Cell:
    number = _count(seen.details, "drifted")
    return Cell(str(number), "warn" if number else "")


def _url(seen: Seen) -> str:
    return str(view.inner(view.spec(seen.document), "git").get("url", ""))


def _vault(seen: Seen) -> str:
    place = view.inner(view.spec(seen.document), "vault")
    return f"shared/{place['shared']}" if place.get("shared") else str(place.get("path") or "")


def _target(seen: Seen) -> str:
    target = view.inner(view.spec(seen.document), "target")
    return f"{target['namespace']}/{target['name']}" if {"namespace", "name"} <= target.keys() else ""


def _spec(name: str) -> Read:
    return lambda seen: str(view.spec(seen.document).get(name) or "")


def _version(seen: Seen) -> str:
    return str(seen.details.get("version") or "")


def _synced(seen: Seen) -> str:
    """How long all clusters have been in step; nothing while they are not."""
    synced = view.condition(seen.document, "Synced")
    return age(synced.get("lastTransitionAt"), seen.now) if synced.get("status") == "True" else ""


_START: Final = (Column("NAME", _name), Column("READY", _ready), Column("REASON", _reason))
_AGE: Final = Column("AGE", _age)

COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "Cluster": (
        *_START,
        Column("VERSION", _detail("kubernetesVersion")),
        Column("NODES", _nodes),
        Column("BUNDLES", _share("bundlesReady", "bundles")),
        Column("SECRETS", _share("secretsReady", "secrets")),
        Column("LAST-SEEN", _last_seen),
        _AGE,
        Column("PROVIDER", _detail("provider"), wide=True),
        Column("REGION", _detail("region"), wide=True),
        Column("AGENT", _detail("agentVersion"), wide=True),
        Column("CONNECTED-TO", _connected_to, wide=True),
        Column("LABELS", _labels, wide=True),
    ),
    "Source": (
        *_START,
        Column("REVISION", _source_revision),
        Column("URL", _url),
        _AGE,
        Column("INTERVAL", _spec("interval"), wide=True),
        Column("AUTHOR", _detail("author"), wide=True),
    ),
    "Bundle": (
        *_START,
        Column("REVISION", _revision),
        Column("CLUSTERS", _share("ready", "placed")),
        Column("UPDATED", _number("updated")),
        Column("DRIFTED", _drifted),
        _AGE,
        Column("SOURCE", _spec("source"), wide=True),
        Column("PATH", _spec("path"), wide=True),
        Column("OBJECTS", _number("objects"), wide=True),
    ),
    "SecretBinding": (
        *_START,
        Column("VERSION", _version),
        Column("CLUSTERS", _share("synced", "placed")),
        Column("SYNCED", _synced),
        _AGE,
        Column("VAULT", _vault, wide=True),
        Column("SECRET", _target, wide=True),
    ),
}
_PLAIN: Final = (*_START, _AGE)


def columns_of(kind: str, *, wide: bool = False) -> tuple[Column, ...]:
    """The columns of a kind; of one that this table does not know, what every document has."""
    return tuple(column for column in COLUMNS.get(kind, _PLAIN) if wide or not column.wide)


def titles(columns: tuple[Column, ...]) -> list[str]:
    return [column.title for column in columns]


def cells(columns: tuple[Column, ...], seen: Seen) -> list[Cell]:
    return [column.cell(seen) for column in columns]
