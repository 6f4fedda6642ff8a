"""`subjects.matches` says what the server's subscriptions say."""

from __future__ import annotations

import pytest

from fleetbus.schemas.subjects import matches


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b.*", "a.b.c", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c.d", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.>", "a.b", True),
        ("a.*.>", "a.b", False),
        ("a", "*", False),
        ("a.b", "a.>", False),
    ],
)
def test_a_pattern_matches_what_its_subscription_receives(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected
