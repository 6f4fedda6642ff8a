"""What an AgentState holds, as it was written and as somebody may have left it."""

from __future__ import annotations

import pytest

from fleetbus.agent.keep import parse_state


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (
            {"state": {"journal": '{"entries":[]}', "mailbox-desired": '{"serial":7}'}},
            ["journal", "mailbox-desired"],
        ),
        ({"state": {"journal": "{", "mailbox-desired": '{"serial":7}'}}, ["mailbox-desired"]),
        ({"state": {"journal": "[]"}}, []),
        ({"state": None}, []),
        ({}, []),
    ],
)
def test_what_cannot_be_read_counts_as_never_kept(found: dict[str, object], state: list[str]) -> None:
    assert sorted(parse_state(found)) == state
