"""What the command writes, and where: the one place that knows terminals, colours and symbols, and cleans.

Results go to standard output. Notes (hints, counts) go to standard error, and only on a terminal; errors go
to standard error always. In a pipe, with TERM=dumb or without UTF-8, symbols become words and nothing is
wrapped, cut or redrawn. NO_COLOR takes colours away and nothing else. FLEETBUS_FORCE_TTY=COLUMNS is a terminal
of that width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from fleetbus.cli.table import Cell, cell, layout
from fleetbus.cli.text import clean, escape_json, is_clean

_COLOURS: Final = {
    "good": "32",
    "busy": "34",
    "wait": "2",
    "warn": "33",
    "bad": "1;31",
    "away": "35",
    "name": "1",
    "command": "36",
    "number": "34",
}

_TITLE_WIDTH: Final = 12

_SYMBOLS: Final = {"good": "✓", "busy": "◐", "wait": "○", "warn": "▲", "bad": "✗", "away": "?"}
_WORDS: Final = {"good": "ok", "busy": "run", "wait": "wait", "warn": "warn", "bad": "FAIL", "away": "away"}


@dataclass(frozen=True, slots=True)
class Screen:
    """What the place that is written to can show."""

    terminal: bool = False
    width: int = 80
    colour: bool = False


def screen_of(stream: TextIO, environment: Mapping[str, str], colour: str = "auto") -> Screen:
    """What `stream` can show. `colour`: auto, always, never."""
    forced = environment.get("FLEETBUS_FORCE_TTY", "")
    utf8 = (getattr(stream, "encoding", "") or "").lower().replace("-", "") == "utf8"
    dumb = environment.get("TERM", "") == "dumb" or not utf8
    if forced:
        return Screen(True, int(forced) if forced.isdigit() else 80, _coloured(environment, colour))
    if dumb or not stream.isatty():
        return Screen(False, 80, colour == "always")
    try:
        columns = os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        columns = 80
    return Screen(True, columns, _coloured(environment, colour))


def _coloured(environment: Mapping[str, str], colour: str) -> bool:
    if colour != "auto":
        return colour == "always"
    return not environment.get("NO_COLOR")


def _as_cell(part: Cell | str) -> Cell:
    return cell(part)


class Output:
    """Standard output and standard error for the length of one command."""

    def __init__(self, out: TextIO, err: TextIO, screen: Screen, err_screen: Screen) -> None:
        self.screen = screen
        self._out = out
        self._err = err
        self._err_screen = err_screen

    @property
    def plain(self) -> bool:
        """Words instead of symbols, one line a thing, times in RFC 3339."""
        return not self.screen.terminal

    def mark(self, token: str) -> Cell:
        """The symbol of a token, or its word."""
        return Cell((_WORDS if self.plain else _SYMBOLS)[token], token)

    def line(self, *parts: Cell | str) -> None:
        self._write(self._out, self.screen, parts)

    def lines(self, lines: Sequence[Sequence[Cell]]) -> None:
        for parts in lines:
            self.line(*parts)

    def note(self, *parts: Cell | str) -> None:
        """A hint or a count: only for who looks at a terminal."""
        if self._err_screen.terminal and self.screen.terminal:
            self._write(self._err, self._err_screen, parts)

    def say(self, *parts: Cell | str) -> None:
        """A message on standard error, in a pipe as well."""
        self._write(self._err, self._err_screen, parts)

    def table(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        indent: str = "",
        wrapped: bool = False,
    ) -> None:
        """A table; `wrapped`: on a terminal the last column goes on in the next line."""
        columns = self.screen.width - len(indent) if wrapped and self.screen.terminal else None
        for parts in layout(titles, rows, columns=columns):
            self.line(*([Cell(indent), *parts] if indent and parts else parts))

    def json(self, value: Any) -> None:
        """Indented JSON, a document at a time."""
        import json

        self._raw(escape_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")

    def json_line(self, value: Any) -> None:
        """JSON in one line."""
        import json

        self._raw(escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) + "\n")

    def yaml(self, value: Any) -> None:
        import yaml

        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
        if not is_clean(text):
            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=110)
        self._raw(text)

    def structured(self, value: Any, form: str) -> None:
        """`form`: json or yaml."""
        if form == "json":
            self.json(value)
        else:
            self.yaml(value)

    def verbatim(self, text: str) -> None:
        """Text of our own that stands in more than one line; never anything that came off the bus."""
        self._raw(text)

    def flush(self) -> None:
        self._out.flush()
        self._err.flush()

    def _raw(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _write(self, stream: TextIO, screen: Screen, parts: Sequence[Cell | str]) -> None:
        written = "".join(_painted(_as_cell(part), screen) for part in parts)
        stream.write(written + "\n")
        stream.flush()


def _painted(part: Cell, screen: Screen) -> str:
    text = clean(part.text)
    code = _COLOURS.get(part.token, "")
    return f"\x1b[{code}m{text}\x1b[0m" if screen.colour and code and text.strip() else text


def standard_output(colour: str = "auto") -> Output:
    """The process's own streams, as the environment says. Characters a stream cannot write are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    environment = os.environ
    return Output(
        sys.stdout,
        sys.stderr,
        screen_of(sys.stdout, environment, colour),
        screen_of(sys.stderr, environment, colour),
    )


def heading(output: Output, title: str, *parts: Cell | str) -> None:
    """A line that starts with its title."""
    output.line(Cell(title.ljust(_TITLE_WIDTH - 1) + " ", "name"), *parts)
