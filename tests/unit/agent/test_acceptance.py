"""Nothing older, nobody else's, nothing past its validity is accepted; what was accepted is accepted again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetbus.agent.acceptance import (
    Accepted,
    accept_commands,
    accept_head,
    lapsed,
    of_root,
    parse_accepted,
)
from fleetbus.agent.ports import Identity
from fleetbus.schemas.desired import CommandList, Head
from fleetbus.schemas.errors import FleetbusError, MessageMalformed, MessageTooNew, Stale, WrongAddressee
from fleetbus.schemas.subjects import ClusterId

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WHO = Identity("acme", ClusterId("main", "c1"), "uid-1")
BEFORE = Accepted(1, 5, "x")


def head(**fields: Any) -> Head:
    given: dict[str, Any] = {
        "fleet": "acme",
        "cluster": "uid-1",
        "epoch": 1,
        "serial": 6,
        "issued_at": NOW,
        "not_after": NOW + timedelta(hours=1),
        "set": "0" * 64,
    }
    return Head(**{**given, **fields})


def test_a_newer_head_is_accepted_and_then_accepted_again() -> None:
    content = head().to_bytes()
    first = accept_head(content, BEFORE, WHO, NOW)
    again = accept_head(content, first.accepted, WHO, NOW)

    assert (first.accepted.order, first.again, again.again) == ((1, 6), False, True)


def test_a_higher_epoch_allows_a_lower_serial() -> None:
    assert accept_head(head(epoch=2, serial=1).to_bytes(), BEFORE, WHO, NOW).accepted.order == (2, 1)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"serial": 5}, Stale),
        ({"serial": 4}, Stale),
        ({"epoch": 0, "serial": 99}, Stale),
        ({"fleet": "other"}, WrongAddressee),
        ({"cluster": "uid-2"}, WrongAddressee),
        ({"contract": 2}, MessageTooNew),
        ({"not_after": NOW - timedelta(seconds=1)}, Stale),
    ],
)
def test_what_is_refused(fields: dict[str, Any], error: type[FleetbusError]) -> None:
    with pytest.raises(error):
        accept_head(head(**fields).to_bytes(), BEFORE, WHO, NOW)


def test_other_bytes_under_an_accepted_serial_are_refused() -> None:
    accepted = accept_head(head().to_bytes(), BEFORE, WHO, NOW).accepted
    with pytest.raises(Stale):
        accept_head(head(set="1" * 64).to_bytes(), accepted, WHO, NOW)


def test_the_accepted_head_stays_past_its_validity() -> None:
    content = head().to_bytes()
    accepted = accept_head(content, BEFORE, WHO, NOW).accepted
    later = NOW + timedelta(days=30)

    found = accept_head(content, accepted, WHO, later)
    assert found.again
    assert "configuration stays" in lapsed(found.head, later)
    assert lapsed(found.head, NOW) == ""


def test_bytes_that_are_no_head_are_malformed() -> None:
    with pytest.raises(MessageMalformed):
        accept_head(b"[]", BEFORE, WHO, NOW)


def test_command_lists_are_ordered_too() -> None:
    told = CommandList(fleet="acme", cluster="uid-1", epoch=1, serial=6, issued_at=NOW)
    assert accept_commands(told.to_bytes(), BEFORE, WHO).accepted.order == (1, 6)
    with pytest.raises(Stale):
        accept_commands(told.to_bytes(), Accepted(1, 7, "y"), WHO)


def test_what_was_kept_is_read_again_but_not_below_the_epoch() -> None:
    assert parse_accepted(BEFORE.kept(), 1) == BEFORE
    assert parse_accepted(None, 2) == Accepted(2)
    assert parse_accepted(BEFORE.kept(), 2) == Accepted(2)


def test_what_another_root_has_told_does_not_hinder_a_new_fleet() -> None:
    kept = {**Accepted(7, 9, "d").kept(), "root": "OLD"}
    assert parse_accepted(of_root(kept, "NEW"), 1) == Accepted(1)
    assert parse_accepted(of_root(kept, "OLD"), 1) == Accepted(7, 9, "d")
    # Kept before the root was kept with it.
    assert parse_accepted(of_root(Accepted(7, 9, "d").kept(), "OLD"), 1) == Accepted(7, 9, "d")
    assert of_root(None, "OLD") is None
