"""Every way in which the command can end: its exit code and its one sentence, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetbus.cli import exit_codes
from fleetbus.client.context import NO_CONTEXT
from fleetbus.schemas import errors
from fleetbus.schemas.codes import CODES, code_named
from tests.unit.cli.fleet_of_three import Answers, bundle, rows, run

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BusUnavailable("no connection"), 69),
        (errors.NotPermitted("not you"), 77),
        (errors.SettingsInvalid("no context", code=NO_CONTEXT), 77),
        (errors.SettingsInvalid("something else"), 1),
        (errors.TimeoutExpired("too long"), 124),
        (errors.NotFound("not there"), 1),
        (errors.DocumentInvalid("wrong"), 1),
        (errors.Terminal("a sentence"), 1),
        (ExceptionGroup("several", [errors.BusUnavailable("no connection")]), 69),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    ran = run(Answers(fails=error), "status")
    assert ran.code == code
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 3


def test_an_error_says_where_and_what_to_do() -> None:
    error = errors.BusUnavailable(
        "no controller\x1b[2J answers", where="context prod", remedy="look at its log"
    )
    assert run(Answers(fails=error), "status").err.splitlines() == [
        "error[FB3001]: no controller\\x1b[2J answers",
        "  --> context prod",
        "   = help: look at its log",
        "   = more: fleetbus explain FB3001",
    ]


def test_what_nobody_foresaw_becomes_a_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ran = run(Answers(fails=ZeroDivisionError("deep inside")), "status")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "deep inside" not in ran.err
    (kept,) = (tmp_path / "fleetbus" / "errors").iterdir()
    assert str(kept) in ran.err
    assert "ZeroDivisionError: deep inside" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "arguments",
    [
        ("gte",),
        ("get", "clusters", "--nope"),
        ("wait", "bundle/x", "--timeout", "soon"),
        ("wait", "bundle/x", "--for", "happiness"),
        ("wait", "bundle/x", "--for", "condition=Readyy"),
        ("wait", "source/x", "--for", "condition=Healthy"),
        ("release", "bundle/x"),
        ("release", "bundle/x", "--prune", "0"),
        ("sync", "bundle/x"),
        ("describe",),
        ("delete", "bundles"),
        ("delete", "cluster/dev-eu", "--yes"),
        ("events", "--since", "yesterday"),
        ("events", "--for", "ingress"),
        ("command", "run", "--cluster", "dev-eu", "--arg", "novalue"),
        ("command",),
        ("explain", "cluster/dev-eu"),
        ("init", "--out", "/nowhere"),
        ("help", "nothing"),
        ("completion", "tcsh"),
    ],
)
def test_wrong_usage_is_64(arguments: tuple[str, ...]) -> None:
    ran = run(Answers(), *arguments)
    assert ran.code == exit_codes.USAGE, ran
    assert ran.out == ""


def test_a_near_command_is_named_and_never_run() -> None:
    answers = Answers(rows={"Bundle": rows(bundle("ingress", "True", "Ready"))})
    ran = run(answers, "delet", "bundle/ingress", "--yes")
    assert (ran.code, answers.asked) == (64, [])
    assert "Did you mean `delete`?" in ran.err


def test_a_command_of_another_distribution_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    ran = run(Answers(), "local", "up")
    assert ran.code == 1
    assert "pip install fleetbus-local" in ran.err


def test_every_error_of_the_tree_and_of_the_sources_is_explained() -> None:
    used = {
        value.code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.FleetbusError)
    }
    for member in ("schemas", "runtime", "agent", "controller", "cli", "deploy/local"):
        for file in (ROOT / member).rglob("*.py"):
            used |= set(re.findall(r'"(FB\d{4})"', file.read_text()))
    assert used - {one.code for one in CODES} == set()
    assert [one.code for one in CODES] == sorted({one.code for one in CODES})
    assert code_named("fb1001") is not None


def test_the_exit_codes_are_a_topic_of_help() -> None:
    told = run(Answers(), "help", "exit-codes").out
    assert [line.split()[0] for line in told.splitlines()[1:]] == [
        str(code) for code, _ in exit_codes.MEANINGS
    ]
