"""The brake on losing clusters counts what is on each of them."""

from __future__ import annotations

from fleetbus.controller.decisions.held import keep


def test_what_one_says_takes_nothing_from_the_others() -> None:
    kept = keep({"c1", "c2", "c3"}, {"c1"}, limit=1, objects={"c2": -10, "c3": 10})
    assert kept.held == ("c2", "c3")


def test_nothing_on_any_needs_no_brake() -> None:
    assert keep({"c1", "c2", "c3"}, {"c1"}, limit=1, objects={"c2": 0}).lost == ("c2", "c3")
