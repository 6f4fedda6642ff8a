"""What `get -w` writes: a line a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fleetbus.cli import view
from fleetbus.cli.columns import Column, Seen, cells, titles
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell, column_widths, layout

if TYPE_CHECKING:
    from fleetbus.schemas.api import Row


class Watcher:
    """Writes what changed between two lists: in a terminal the changed rows, in a pipe with EVENT first."""

    def __init__(self, output: Output, form: str, columns: tuple[Column, ...], no_headers: bool) -> None:
        self._output = output
        self._form = form
        self._columns = columns
        self._titles = [] if no_headers else titles(columns)
        self._shown: dict[str, Mapping[str, Any]] = {}
        self._widths: list[int] = []
        self._started = False

    def rows(self, rows: Sequence[Row], now: datetime) -> None:
        """Write the difference to the rows that were given before."""
        current = {view.name_of(row.document): row for row in rows}
        changed: list[tuple[str, Row]] = []
        for name, row in current.items():
            before = self._shown.get(name)
            if before is None:
                changed.append(("ADDED", row))
            elif before != self._visible(row, now):
                changed.append(("MODIFIED", row))
        gone = [name for name in self._shown if name not in current]
        if self._form in {"json", "yaml", "name"}:
            self._structured(changed, gone)
        else:
            self._table(changed, gone, now)
        self._shown = {name: self._visible(row, now) for name, row in current.items()}

    def _visible(self, row: Row, now: datetime) -> Mapping[str, Any]:
        """What a change is a change of: the document without the ages that move by themselves."""
        if self._form in {"json", "yaml"}:
            return row.document
        seen = Seen(row.document, row.live, now)
        moving = {"AGE", "LAST-SEEN", "SYNCED"}
        return {one.title: one.cell(seen) for one in self._columns if one.title not in moving}

    def _structured(self, changed: Sequence[tuple[str, Row]], gone: Sequence[str]) -> None:
        for event, row in changed:
            if self._form == "name":
                self._output.line(f"{event} {view.reference(row.document)}")
            else:
                self._output.json_line({"type": event, "object": row.document})
        for name in gone:
            if self._form == "name":
                self._output.line(f"DELETED {name}")
            else:
                self._output.json_line({"type": "DELETED", "object": {"metadata": {"name": name}}})

    def _table(self, changed: Sequence[tuple[str, Row]], gone: Sequence[str], now: datetime) -> None:
        lines: list[list[Cell]] = []
        for event, row in changed:
            lines.append([Cell(event), *cells(self._columns, Seen(row.document, row.live, now))])
        for name in gone:
            lines.append([Cell("DELETED"), Cell(name, "wait")])
        if self._output.screen.terminal:
            lines = [
                [*line[1:], Cell("deleted", "wait")] if line[0].text == "DELETED" else line[1:]
                for line in lines
            ]
        heading = self._titles
        if heading and not self._output.screen.terminal:
            heading = ["EVENT", *heading]
        first = [] if self._started or not heading else heading
        self._widths = column_widths(
            [*([[Cell(one) for one in heading]] if heading else []), *lines], self._widths
        )
        self._output.lines(layout(first, lines, widths=self._widths))
        self._started = True
