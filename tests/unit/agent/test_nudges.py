"""A nudge counts only when the server's own words say that it is about our mailbox."""

from __future__ import annotations

import pytest

from fleetbus.agent.desired import is_about
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.subjects import ClusterId

OURS = ClusterId("main", "dev-eu")
MAILBOX = subjects.desired(OURS)


def nudge(**headers: str) -> Message:
    told = {f"Nats-{name.title()}": value for name, value in headers.items()}
    return Message(subjects.nudge(OURS, "desired"), b"", headers=told, sequence=9)


def test_the_republished_write_is_a_nudge() -> None:
    assert is_about(nudge(stream="DESIRED", subject=MAILBOX, sequence="9"), MAILBOX)


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"stream": "DESIRED", "subject": subjects.desired(ClusterId("main", "prod-us")), "sequence": "9"},
        {"stream": "ARTIFACTS", "subject": subjects.artifact("0" * 64), "sequence": "9"},
        {"stream": "EVENTS", "subject": MAILBOX, "sequence": "9"},
    ],
)
def test_an_answer_that_another_agent_sent_here_is_none(forged: dict[str, str]) -> None:
    assert not is_about(nudge(**forged), MAILBOX)
