"""Columns of `get`, and those that every kind has. Each cell is read from a document and from what is known now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleetbus.cli import view
from fleetbus.cli.table import Cell, cell
from fleetbus.cli.text import NONE, age
from fleetbus.cli.view import Json


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


def detail(name: str) -> Read:
    return lambda seen: str(seen.details.get(name) or "")


def share(part: str, whole: str) -> Read:
    return lambda seen: f"{count(seen.details, part)}/{count(seen.details, whole)}"


def number(name: str) -> Read:
    return lambda seen: str(count(seen.details, name))


def count(details: Json, name: str) -> int:
    value = details.get(name, 0)
    return len(value) if isinstance(value, (list, tuple)) else value if isinstance(value, int) else 0


def from_spec(name: str) -> Read:
    return lambda seen: str(view.spec(seen.document).get(name) or "")


START: Final = (Column("NAME", _name), Column("READY", _ready), Column("REASON", _reason))
AGE: Final = Column("AGE", _age)


def titles(columns: tuple[Column, ...]) -> list[str]:
    return [column.title for column in columns]


def cells(columns: tuple[Column, ...], seen: Seen) -> list[Cell]:
    return [column.cell(seen) for column in columns]
