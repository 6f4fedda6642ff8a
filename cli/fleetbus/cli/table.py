"""Tables as kubectl writes them: columns padded with blanks, two between them, nothing cut, no frame.

A cell is text with at most one token of colour; the writer cleans it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetbus.cli.text import clean, width, wrap

_GAP = "  "
_NARROWEST_WRAPPED = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """Text and the token of its colour: good, busy, wait, warn, bad, away, name, command, number or none."""

    text: str
    token: str = ""


Parts = tuple[Cell, ...]
"""A line: its cells are written one after the other."""


def cell(value: object, token: str = "") -> Cell:
    return value if isinstance(value, Cell) else Cell(str(value), token)


def layout(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    columns: int | None = None,
    widths: Sequence[int] = (),
) -> list[Parts]:
    """The lines of a table; no titles line when all titles are empty.

    With `columns` the last column is wrapped so that lines fit in as many, never cut. `widths` are minimal,
    so that lines written later fit under those written before.
    """
    clean_rows = [[Cell(clean(one.text), one.token) for one in row] for row in rows]
    lines = [[Cell(title) for title in titles]] if any(titles) else []
    lines += clean_rows
    needed = column_widths(lines, widths)
    laid: list[Parts] = []
    for row in lines:
        laid += _wrapped(row, needed, columns)
    return laid


def column_widths(rows: Sequence[Sequence[Cell]], least: Sequence[int] = ()) -> list[int]:
    count = max([len(least), *(len(row) for row in rows)], default=0)
    return [
        max(
            [
                least[index] if index < len(least) else 0,
                *(width(row[index].text) for row in rows if index < len(row)),
            ]
        )
        for index in range(count)
    ]


def _wrapped(row: Sequence[Cell], widths: Sequence[int], columns: int | None) -> list[Parts]:
    if not row:
        return [()]
    last = row[-1]
    before = sum(widths[: len(row) - 1]) + len(_GAP) * (len(row) - 1)
    room = max(_NARROWEST_WRAPPED, columns - before) if columns else 0
    pieces = wrap(last.text, room) if columns and width(last.text) > room else [last.text]
    padded: list[Cell] = []
    for index, one in enumerate(row[:-1]):
        padded.append(one)
        padded.append(Cell(" " * (widths[index] - width(one.text)) + _GAP))
    first = _stripped((*padded, Cell(pieces[0], last.token)))
    return [first, *((Cell(" " * before), Cell(piece, last.token)) for piece in pieces[1:])]


def _stripped(parts: Parts) -> Parts:
    """Without blanks at the end of the line."""
    kept = list(parts)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if not kept:
        return ()
    return (*kept[:-1], Cell(kept[-1].text.rstrip(), kept[-1].token))
