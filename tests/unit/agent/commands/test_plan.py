"""What is started, ended, looked at and forgotten, for each place in which a command may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleetbus.agent.capabilities.commands import journal as journals
from fleetbus.agent.capabilities.commands.journal import Entry
from fleetbus.agent.capabilities.commands.plan import (
    Abort,
    End,
    Forget,
    Look,
    Resume,
    Start,
    Step,
    plan,
    results,
)
from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.desired import Command

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DRIVERS = ("job", "rehearsal")


def command(id_: str, *, late: bool = False, cancelled: bool = False, driver: str = "job") -> Command:
    deadline = NOW + timedelta(seconds=-1 if late else 60)
    return Command(id=id_, driver=driver, issued_at=NOW, deadline=deadline, cancelled=cancelled)


def running(id_: str) -> Entry:
    return journals.effected(journals.started(command(id_), NOW))


def ended(id_: str) -> Entry:
    return journals.finished(running(id_), schema.PHASE_SUCCEEDED, "", NOW)


def planned(
    told: list[Command] | None, *entries: Entry, halted: bool = False, now: datetime = NOW
) -> tuple[Step, ...]:
    return plan(told, {entry.id: entry for entry in entries}, now, drivers=DRIVERS, halted=halted)


def test_the_first_of_the_list_starts() -> None:
    assert planned([command("b"), command("a")]) == (Start(command("b")),)


def test_nothing_starts_while_one_runs() -> None:
    assert planned([command("a"), command("b")], running("a")) == (Look(running("a")),)


def test_the_next_starts_when_the_one_before_has_ended() -> None:
    assert planned([command("a"), command("b")], ended("a")) == (Start(command("b")),)


def test_what_has_an_entry_never_starts_again() -> None:
    assert planned([command("a")], ended("a")) == ()


def test_an_id_that_stands_twice_in_the_list_starts_once() -> None:
    told = [command("a"), command("b"), command("a")]
    assert planned(told) == (Start(command("a")),)
    assert planned(told, ended("a"), ended("b")) == ()
    assert [result.id for result in results(told, {}, halted=False, unapproved={})] == ["a", "b"]


def test_a_late_one_expires_and_the_next_starts() -> None:
    end, start = planned([command("a", late=True), command("b")])
    assert isinstance(end, End)
    assert end.entries[0].result.phase == schema.PHASE_EXPIRED
    assert end.entries[0].result.message.startswith("deadline: ")
    assert start == Start(command("b"))


def test_a_late_one_expires_also_while_another_runs_or_everything_is_halted() -> None:
    end, _ = planned([command("a"), command("b", late=True)], running("a"), halted=True)
    assert isinstance(end, End)
    assert [entry.id for entry in end.entries] == ["b"]


def test_a_cancelled_one_that_has_not_started_never_starts() -> None:
    (end,) = planned([command("a", cancelled=True)])
    assert isinstance(end, End)
    assert end.entries[0].result.phase == schema.PHASE_CANCELLED


def test_a_cancelled_one_that_runs_is_aborted() -> None:
    assert planned([command("a", cancelled=True)], running("a")) == (Abort(running("a")),)


def test_an_unknown_driver_is_refused_by_name() -> None:
    (end,) = planned([command("a", driver="rocket")])
    assert isinstance(end, End)
    result = end.entries[0].result
    assert result.phase == schema.PHASE_REFUSED
    assert result.message == "driver: this agent has no driver `rocket`; it has job, rehearsal"


def test_an_id_that_could_name_no_object_is_refused() -> None:
    for id_ in ("A b", "../x", "-", "a" * 60):
        (end,) = planned([command(id_)])
        assert isinstance(end, End)
        assert end.entries[0].result.message.startswith("id: ")


def test_a_halt_holds_new_starts_and_nothing_else() -> None:
    assert planned([command("a")], halted=True) == ()
    assert planned([command("a")], running("a"), halted=True) == (Look(running("a")),)
    assert (
        results([command("a")], {}, halted=True, unapproved={})[0].message == "it waits: everything is halted"
    )


def test_started_without_a_seen_effect_is_found_by_its_id_first() -> None:
    started = journals.started(command("a"), NOW)
    assert planned([command("a")], started) == (Resume(started, command("a")),)


def test_started_without_a_seen_effect_never_starts_late_cancelled_or_untold() -> None:
    started = journals.started(command("a"), NOW)
    for told, phase in (
        ([command("a", late=True)], schema.PHASE_EXPIRED),
        ([command("a", cancelled=True)], schema.PHASE_CANCELLED),
        ([], schema.PHASE_FAILED),
    ):
        (step,) = planned(told, started)
        assert isinstance(step, Resume)
        assert (step.command, step.because[0]) == (None, phase)


def test_without_a_list_what_started_is_only_looked_for() -> None:
    started = journals.started(command("a"), NOW)
    assert planned(None, started) == (Resume(started, None),)


def test_an_entry_is_forgotten_when_its_id_has_left_the_list_and_it_has_ended() -> None:
    assert planned([], ended("a"), running("b")) == (Forget(("a",)), Look(running("b")))


def test_while_no_list_is_known_nothing_is_forgotten() -> None:
    assert planned(None, ended("a")) == ()
    assert [result.id for result in results(None, {"a": ended("a")}, halted=False, unapproved={})] == ["a"]


def test_results_stand_in_list_order_and_say_who_is_waited_for() -> None:
    told = [command("a"), command("b"), command("c")]
    found = results(told, {"a": running("a")}, halted=False, unapproved={})
    assert [(one.id, one.phase) for one in found] == [
        ("a", schema.PHASE_RUNNING),
        ("b", schema.PHASE_ACCEPTED),
        ("c", schema.PHASE_ACCEPTED),
    ]
    assert [one.message for one in found[1:]] == ["it waits for command a", "it waits for command b"]


def test_the_journal_survives_its_json() -> None:
    entries = (running("a"), ended("b"), journals.started(command("c"), NOW))
    journal = {entry.id: entry for entry in entries}
    assert journals.from_json(journals.as_json(journal)) == journal
    assert journals.from_json(None) == {}
