"""Presence, damped: what is shown is the truth while it turns seldom, and stands still while it turns often."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller.decisions.presence import (
    CALM_AFTER_S,
    CROWDED_AFTER_S,
    MOST_TURNS,
    QUIET_S,
    SILENT_AFTER_S,
    WINDOW_S,
    Beats,
    Crowd,
    Linked,
    began,
    calmed,
    counted,
    heard,
    missed,
    turned,
)

PAUSES = st.lists(st.floats(0.001, 2 * WINDOW_S), max_size=60)


def shown(pauses: list[float]) -> list[tuple[float, bool, str]]:
    """What a link that turns after each pause shows: time, whether it is up, the word."""
    linked, now_s, up = turned(Linked(), True, 0.0), 0.0, True
    found: list[tuple[float, bool, str]] = [(0.0, True, linked.link)]
    for pause_s in pauses:
        quiet = calmed(linked, now_s + pause_s - 0.0005)
        found.append((now_s + pause_s - 0.0005, up, quiet.link))
        now_s, up = now_s + pause_s, not up
        linked = turned(quiet, up, now_s)
        found.append((now_s, up, linked.link))
    return found


@given(PAUSES)
def test_a_link_that_turns_seldom_is_shown_as_it_is(pauses: list[float]) -> None:
    times = [at for at, _, _ in shown(pauses)[2::2]]
    for at, up, link in shown(pauses):
        around = [one for one in times if at - WINDOW_S - QUIET_S <= one <= at]
        if len(around) < MOST_TURNS:
            assert link == ("connected" if up else "disconnected")


@given(PAUSES)
def test_in_any_window_little_is_shown_however_often_it_turns(pauses: list[float]) -> None:
    """At most the turns that make it flapping, that word, and, between two spells, how it is when it is quiet."""
    found = shown(pauses)
    changes = [at for (_, _, before), (at, _, after) in pairwise(found) if before != after]
    for start_s in changes:
        within = [at for at in changes if start_s <= at < start_s + WINDOW_S]
        assert len(within) <= 2 * MOST_TURNS + WINDOW_S / QUIET_S


@given(PAUSES)
def test_what_flaps_is_shown_as_it_is_once_it_is_quiet(pauses: list[float]) -> None:
    linked, now_s, up = Linked(), 0.0, False
    for pause_s in pauses:
        now_s, up = now_s + pause_s, not up
        linked = turned(linked, up, now_s)
    if pauses:
        quiet = calmed(linked, now_s + QUIET_S + 1)
        assert quiet.link == ("connected" if up else "disconnected")


def test_four_times_lost_and_found_in_a_window_is_flapping() -> None:
    linked = turned(Linked(), True, 0.0)
    for number in range(1, MOST_TURNS + 1):
        assert linked.link != "flapping"
        linked = turned(linked, number % 2 == 0, float(number))
    assert linked.link == "flapping"
    assert calmed(linked, MOST_TURNS + QUIET_S - 1).link == "flapping"


@given(st.lists(st.floats(0.001, 3 * SILENT_AFTER_S), max_size=40))
def test_who_is_heard_often_enough_is_responsive_and_who_is_silent_is_not(pauses: list[float]) -> None:
    beats, now_s = began(Beats(), 0.0), 0.0
    for pause_s in pauses:
        silent = missed(beats, now_s + pause_s)
        if pause_s >= SILENT_AFTER_S:
            assert silent.responsive is False
        beats, now_s = heard(silent, now_s + pause_s), now_s + pause_s
    again = heard(heard(beats, now_s + 1), now_s + 2)
    assert again.responsive is True


def test_after_silence_on_a_connection_that_stood_one_heartbeat_is_not_believed() -> None:
    beats = missed(heard(began(Beats(), 0.0), 1.0), 1.0 + SILENT_AFTER_S)
    assert beats.responsive is False
    first = heard(beats, 100.0)
    assert first.responsive is False
    assert heard(first, 110.0).responsive is True
    assert heard(first, 101.0 + SILENT_AFTER_S).responsive is False
    assert heard(began(first, 101.0), 102.0).responsive is True


def test_a_short_cut_leaves_who_was_just_heard_responsive() -> None:
    beats = heard(began(Beats(), 0.0), 1.0)
    assert began(beats, 2.0).responsive is True
    assert began(beats, 2.0 + SILENT_AFTER_S).responsive is None


@given(st.lists(st.tuples(st.floats(0.1, 2 * CALM_AFTER_S), st.integers(0, 5)), max_size=40))
def test_a_crowd_is_told_when_it_lasts_and_over_when_it_is(counts: list[tuple[float, int]]) -> None:
    crowd, now_s = Crowd(), 0.0
    for pause_s, count in counts:
        now_s += pause_s
        crowd = counted(crowd, count, now_s)
    many = counted(counted(crowd, 3, now_s), 3, now_s + CROWDED_AFTER_S + 1)
    assert many.told
    few = counted(counted(many, 2, now_s + 20), 2, now_s + 21 + CALM_AFTER_S)
    assert not few.told
    assert not counted(counted(few, 3, now_s + 200), 3, now_s + 199 + CROWDED_AFTER_S).told
