"""What is wrong in a file: code, message, place, the lines there with carets, what to do.

Three forms: text as compilers write it, JSON, and GitHub's annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.cli.text import clean, counted, width, without_login


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `line` and `column` count from 1; `lines` are numbered source lines, the last the marked one."""

    code: str
    message: str
    file: str
    line: int
    column: int
    length: int = 1
    lines: tuple[tuple[int, str], ...] = ()
    label: str = ""
    help: str = ""
    note: str = ""
    more: str = ""

    def as_json(self) -> dict[str, Any]:
        found = {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "label": self.label,
            "help": self.help,
            "note": self.note,
            "more": self.more,
        }
        return {key: value for key, value in found.items() if value != ""}


def print_diagnostics(found: Sequence[Diagnostic], output: Output, form: str = "text") -> None:
    """Text goes to standard error; `json` and `github` are results and go to standard output."""
    if form == "json":
        output.json([one.as_json() for one in found])
    elif form == "github":
        for one in found:
            output.line(_annotation(one))
    else:
        for one in found:
            _print(one, output)


def summary(found: Sequence[Diagnostic], valid: int, outcome: str) -> str:
    """`2 errors in bundles/ingress.yaml. Nothing was applied (4 other documents are valid).`"""
    files = sorted({one.file for one in found})
    place = files[0] if len(files) == 1 else counted(len(files), "file")
    others = f" ({counted(valid, 'other document')} {'is' if valid == 1 else 'are'} valid)" if valid else ""
    return f"{counted(len(found), 'error')} in {place}.{f' {outcome}{others}.' if outcome else others}"


def _print(one: Diagnostic, output: Output) -> None:
    gutter = " " * max(2, len(str(one.line)))
    output.say(Cell(f"error[{one.code}]", "bad"), ": ", Cell(one.message, "name"))
    output.say(Cell(f"{gutter[:-1]} --> ", "number"), f"{one.file}:{one.line}:{one.column}")
    bar = Cell(f"{gutter} |", "number")
    output.say(bar)
    for number, text in one.lines:
        shown = f" {without_login(text)}" if text else ""
        output.say(Cell(f"{str(number).rjust(len(gutter))} |", "number"), shown)
    if one.lines:
        before = clean(one.lines[-1][1][: one.column - 1])
        carets = "^" * max(1, width(clean(one.lines[-1][1][one.column - 1 : one.column - 1 + one.length])))
        label = f" {one.label}" if one.label else ""
        output.say(bar, " " * (width(before) + 1), Cell(carets, "bad"), label)
        if one.label:
            output.say(bar)
    for title, text in (("help", one.help), ("note", one.note), ("more", one.more)):
        if text:
            token = "command" if title == "help" else ""
            output.say(Cell(f"{gutter} = ", "number"), Cell(title, token), f": {text}")
    output.say("")


def _annotation(one: Diagnostic) -> str:
    """GitHub's workflow command; its own escapes for percent signs and line breaks."""
    text = one.message + (f"; {one.help}" if one.help else "")
    message = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::error file={one.file},line={one.line},col={one.column},title={one.code}::{message}"
