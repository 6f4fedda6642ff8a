"""What `get` and `describe` show of a document kind: a module a kind, named as the kind in lower case.

What may enter: columns and lines about one kind, read from its JSON; nothing that asks the fleet.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from fleetbus.cli.columns import AGE, START, Column, Seen
from fleetbus.cli.output import Output
from fleetbus.schemas.catalogue import KINDS


@dataclass(frozen=True, slots=True)
class Shown:
    """One kind. `describe` writes what stands between the headline and the conditions."""

    columns: tuple[Column, ...]
    describe: Callable[[Output, Seen], None]


def shown(kind: str) -> Shown:
    """Of a kind that this version does not know, what every document has."""
    if kind not in KINDS:
        return Shown((*START, AGE), lambda output, seen: None)
    found: Shown = importlib.import_module(f"{__name__}.{kind.lower()}").SHOWN
    return found


def columns_of(kind: str, *, wide: bool = False) -> tuple[Column, ...]:
    return tuple(column for column in shown(kind).columns if wide or not column.wide)
