"""The events of a command's way, also when steps in between were never reported."""

from __future__ import annotations

from datetime import UTC, datetime

from fleetbus.agent.capabilities.commands.transitions import transitions
from fleetbus.schemas.states import CommandResult, Results

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def told(phase: str, *, started: bool = True) -> dict[str, object]:
    result = CommandResult(
        id="a", driver="job", phase=phase, message="so", started_at=NOW if started else None
    )
    return Results(commands=(result,)).as_json()


def types(old: dict[str, object], new: dict[str, object]) -> list[str]:
    return [happened.type for happened in transitions("result", old, new)]


def test_each_step_is_one_event() -> None:
    assert types({}, told("Accepted", started=False)) == []
    assert types(told("Accepted", started=False), told("Running")) == ["command.started"]
    assert types(told("Running"), told("Running")) == []
    assert types(told("Running"), told("Succeeded")) == ["command.succeeded"]
    assert types(told("Succeeded"), told("Succeeded")) == []


def test_a_start_that_was_not_reported_is_told_with_the_end() -> None:
    assert types(told("Accepted", started=False), told("Failed")) == ["command.started", "command.failed"]


def test_what_never_started_has_its_end_only() -> None:
    for phase in ("Expired", "Cancelled", "Refused"):
        assert types({}, told(phase, started=False)) == [f"command.{phase.lower()}"]


def test_a_bad_end_is_a_warning_and_says_why() -> None:
    (happened,) = transitions("result", told("Running"), told("Failed"))
    assert (happened.severity, happened.message, happened.subject) == ("Warning", "so", "command/a")
    assert happened.details["driver"] == "job"


def test_leaving_the_list_is_no_event() -> None:
    assert types(told("Succeeded"), {}) == []
