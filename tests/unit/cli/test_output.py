"""What reaches a terminal: cleaned, coloured only there, nothing cut in a pipe."""

from __future__ import annotations

import json
from io import BytesIO, StringIO, TextIOWrapper

import pytest

from fleetbus.cli.output import Output, Screen, screen_of
from fleetbus.cli.table import Cell, layout
from fleetbus.cli.text import (
    clean,
    duration,
    escape_json,
    parse_time,
    rfc3339,
    short_revision,
    width,
    without_login,
    wrap,
)

EVIL = [
    "\x1b[2J",
    "\x1b]52;c;aGk=\x07",
    "a\rb",
    "\x9b31m",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\x00\x7f",
    "\ud800",
    "\u061c\u200f\ufeff",
]


@pytest.mark.parametrize("text", EVIL)
def test_no_terminal_obeys_what_was_cleaned(text: str) -> None:
    cleaned = clean(text)
    assert all(character.isprintable() for character in cleaned)
    assert cleaned != text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("url: https://ana:hunter2@git.example.com/a.git", "url: https://***********@git.example.com/a.git"),
        ("https://hunter2@git.example.com", "https://*******@git.example.com"),
        ("ssh://git:hunter2@git.example.com", "ssh://***********@git.example.com"),
        ("ssh://git@git.example.com", "ssh://git@git.example.com"),
        ("https://git.example.com/a@b:c", "https://git.example.com/a@b:c"),
    ],
)
def test_a_password_in_an_address_is_not_shown(text: str, shown: str) -> None:
    assert without_login(text) == shown


def test_ordinary_text_stays_and_line_breaks_become_blanks() -> None:
    assert clean("Grüße, 東京 ✓") == "Grüße, 東京 ✓"
    assert clean("a\nb\tc") == "a b c"


@pytest.mark.parametrize("text", [*EVIL[:-2], EVIL[-1]])
def test_json_says_the_same_after_escaping(text: str) -> None:
    escaped = escape_json(json.dumps({"message": text}, ensure_ascii=False))
    assert json.loads(escaped) == {"message": text}
    assert escaped.isprintable()


def test_every_way_out_cleans() -> None:
    out, err = StringIO(), StringIO()
    output = Output(out, err, Screen(True, 80, True), Screen(True, 80, True))
    evil = "".join(EVIL[:-2])
    output.line(Cell(evil, "bad"), evil)
    output.say(evil)
    output.note(Cell(evil))
    output.table([evil], [[Cell(evil, "good")]], wrapped=True)
    output.json({evil: evil})
    output.json_line([evil])
    output.yaml({"message": evil})
    for painted in ("\x1b[1;31m", "\x1b[32m", "\x1b[0m"):
        out = StringIO(out.getvalue().replace(painted, ""))
    for line in (out.getvalue() + err.getvalue()).splitlines():
        assert line.isprintable(), line


class _Stream(TextIOWrapper):
    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "colour", "expected"),
    [
        (False, {}, "auto", Screen(False, 80, False)),
        (False, {}, "always", Screen(False, 80, True)),
        (True, {}, "auto", Screen(True, 80, True)),
        (True, {"NO_COLOR": "1"}, "auto", Screen(True, 80, False)),
        (True, {"NO_COLOR": "1"}, "always", Screen(True, 80, True)),
        (True, {}, "never", Screen(True, 80, False)),
        (True, {"TERM": "dumb"}, "auto", Screen(False, 80, False)),
        (False, {"FLEETBUS_FORCE_TTY": "100"}, "auto", Screen(True, 100, True)),
        (False, {"FLEETBUS_FORCE_TTY": "100", "NO_COLOR": "1"}, "auto", Screen(True, 100, False)),
    ],
)
def test_what_a_stream_can_show(
    terminal: bool, environment: dict[str, str], colour: str, expected: Screen
) -> None:
    assert screen_of(_Stream(terminal), environment, colour) == expected


def test_without_utf8_there_are_words() -> None:
    assert screen_of(_Stream(True, "latin-1"), {}) == Screen(False, 80, False)
    output = Output(StringIO(), StringIO(), Screen(False), Screen(False))
    assert output.mark("bad").text == "FAIL"
    assert Output(StringIO(), StringIO(), Screen(True), Screen(True)).mark("bad").text == "✗"


def test_notes_are_only_for_terminals() -> None:
    err = StringIO()
    Output(StringIO(), err, Screen(False), Screen(True)).note("hint")
    assert err.getvalue() == ""


def test_tables_pad_by_what_is_seen_and_leave_no_blanks_at_the_end() -> None:
    lines = layout(["NAME", "X"], [[Cell("東京"), Cell("1")], [Cell("ab"), Cell("")]])
    assert ["".join(part.text for part in line) for line in lines] == ["NAME  X", "東京  1", "ab"]


def test_nothing_is_cut_without_columns_and_wrapped_with() -> None:
    message = "one two three four five six seven eight nine ten"
    plain = layout(["A", "MESSAGE"], [[Cell("x"), Cell(message)]])
    assert "".join(part.text for part in plain[1]) == f"x  {message}"
    wrapped = layout(["A", "MESSAGE"], [[Cell("x"), Cell(message)]], columns=30)
    texts = ["".join(part.text for part in line) for line in wrapped]
    assert all(width(text) <= 30 for text in texts)
    assert " ".join(text[3:] for text in texts[1:]) == message


def test_a_word_that_is_too_long_is_broken_and_nothing_is_lost() -> None:
    text = "a " + "x" * 50 + " b"
    lines = wrap(text, 20)
    assert all(width(line) <= 20 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (72, "1m12s"),
        (840, "14m"),
        (3600, "1h"),
        (25920, "7h12m"),
        (41 * 86400, "41d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_and_revisions() -> None:
    at = parse_time("2026-11-24T10:33:07+01:00")
    assert at is not None
    assert rfc3339(at) == "2026-11-24T09:33:07Z"
    assert parse_time("soon") is None
    assert parse_time(None) is None
    assert short_revision("v1@sha1:" + "a" * 40) == "v1@sha1:aaaaaaa"
