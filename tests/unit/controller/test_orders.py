"""The list of a cluster's commands: what an order adds, what cancelling does, when an entry is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller import orders
from fleetbus.schemas.capabilities.commands import CommandOrder
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import DocumentInvalid, NotFound, Refused
from fleetbus.schemas.states import FINISHED, CommandResult, Results

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def command(name: str, *, issued: timedelta = MINUTE, deadline: timedelta = 10 * MINUTE) -> Command:
    return Command(id=name, driver="rehearsal", issued_at=NOW - issued, deadline=NOW + deadline)


def results(**phases: str) -> Results:
    """Finished ones ended two hours ago when their phase ends in `-old`."""
    found = []
    for name, phase in phases.items():
        phase, _, age = phase.partition("-")
        ended = None if phase not in FINISHED else NOW - (120 * MINUTE if age else MINUTE)
        found.append(CommandResult(id=name, driver="rehearsal", phase=phase, finished_at=ended))
    return Results(commands=tuple(found))


def names(commands: tuple[Command, ...]) -> list[str]:
    return [one.id for one in commands]


def test_an_order_becomes_a_command_with_all_its_arguments() -> None:
    order = CommandOrder(cluster="c1", driver="rehearsal", arguments={"outcome": "fails"}, deadline_s=60)
    made = orders.ordered(order, "id1", NOW, "ana")
    assert (made.id, made.issued_by, made.deadline) == ("id1", "ana", NOW + MINUTE)
    assert made.arguments["outcome"] == "fails"
    assert made.arguments["steps"] == 3


@pytest.mark.parametrize(
    ("driver", "arguments", "says"),
    [
        ("nothing", {}, "no driver `nothing`"),
        ("job", {}, "image: Field required"),
        ("rehearsal", {"outcome": "explodes"}, "outcome"),
        ("rehearsal", {"colour": "red"}, "colour"),
    ],
)
def test_an_order_that_fits_no_driver_is_refused(driver: str, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(DocumentInvalid, match=says):
        orders.ordered(CommandOrder(cluster="c1", driver=driver, arguments=arguments), "id1", NOW, "ana")


def test_a_new_command_comes_last() -> None:
    assert names(orders.added([command("a"), command("b")], command("c"), None, NOW)) == ["a", "b", "c"]


def test_a_list_full_of_open_commands_takes_no_more() -> None:
    full = [command(f"c{number}") for number in range(orders.MOST_LISTED)]
    with pytest.raises(Refused, match="50 commands"):
        orders.added(full, command("new"), None, NOW)
    ended = results(c7="Succeeded")
    assert names(orders.added(full, command("new"), ended, NOW))[-1] == "new"
    assert "c7" not in names(orders.added(full, command("new"), ended, NOW))


def test_cancelling_marks_one_and_keeps_the_order() -> None:
    after = orders.cancelled([command("a"), command("b")], "b", None)
    assert [(one.id, one.cancelled) for one in after] == [("a", False), ("b", True)]
    assert orders.cancelled(after, "b", None) == after


def test_what_has_ended_or_is_not_there_cannot_be_cancelled() -> None:
    with pytest.raises(Refused, match="Succeeded"):
        orders.cancelled([command("a")], "a", results(a="Succeeded"))
    with pytest.raises(NotFound):
        orders.cancelled([command("a")], "b", None)


@pytest.mark.parametrize(
    ("one", "phase", "kept"),
    [
        (command("a"), None, True),
        (command("a"), "Running", True),
        (command("a"), "Succeeded", True),
        (command("a"), "Succeeded-old", False),
        (command("a", deadline=-30 * MINUTE), None, True),
        (command("a", deadline=-90 * MINUTE), None, False),
        (command("a", deadline=-90 * MINUTE), "Running", True),
    ],
)
def test_an_entry_is_forgotten_an_hour_after_its_end(one: Command, phase: str | None, kept: bool) -> None:
    known = results(a=phase) if phase else None
    assert bool(orders.remaining([one], known, NOW)) is kept


@pytest.mark.parametrize("told", [datetime(2199, 12, 31, tzinfo=UTC), None])
def test_no_told_end_keeps_an_entry_for_ever(told: datetime | None) -> None:
    one = command("a")
    done = CommandResult(id="a", driver="rehearsal", phase="Succeeded", finished_at=told)
    known = Results(commands=(done,))
    assert orders.remaining([one], known, NOW)
    assert not orders.remaining([one], known, one.deadline + orders.KEPT_FOR + MINUTE)


@pytest.mark.parametrize(
    ("one", "phase", "shown"),
    [
        (command("a"), None, "Issued"),
        (command("a"), "Accepted", "Accepted"),
        (command("a"), "Running", "Running"),
        (command("a", deadline=-MINUTE), None, "Expired"),
        (command("a", deadline=-MINUTE), "Running", "Running"),
        (command("a").model_copy(update={"cancelled": True}), "Running", "Cancelling"),
        (command("a").model_copy(update={"cancelled": True}), "Cancelled", "Cancelled"),
    ],
)
def test_a_row_says_where_a_command_stands(one: Command, phase: str | None, shown: str) -> None:
    assert orders.rows("c1", [one], results(a=phase) if phase else None, NOW)[0].phase == shown


@given(st.lists(st.sampled_from(["open", "Running", "Succeeded", "Failed-old"]), max_size=120))
def test_open_commands_are_never_forgotten_and_the_rest_is_bounded(phases: list[str]) -> None:
    listed = [command(f"c{number}") for number in range(len(phases))]
    known = results(**{f"c{n}": phase for n, phase in enumerate(phases) if phase != "open"})
    kept = names(orders.remaining(listed, known, NOW))
    still_open = [f"c{n}" for n, phase in enumerate(phases) if phase in {"open", "Running"}]
    assert set(still_open) <= set(kept)
    assert kept == [name for name in names(tuple(listed)) if name in kept]
    assert len(kept) <= max(orders.MOST_LISTED, len(still_open))
