"""The table of attacks says what the suite runs."""

from __future__ import annotations

from collections import Counter

from tests.attacks.__main__ import PAGE
from tests.attacks.suite import ATTACKS, page


def test_each_attack_has_its_line() -> None:
    assert PAGE.read_text() == page()


def test_no_two_attacks_are_one() -> None:
    counts = Counter((attack.who, attack.id) for attack in ATTACKS)
    assert [attack for attack, count in counts.items() if count > 1] == []
