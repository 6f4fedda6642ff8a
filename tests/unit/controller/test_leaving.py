"""What the status of a cluster that left says, and which events tell of it, each once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleetbus.controller.decisions.leaving import leaving_status
from fleetbus.schemas import conditions
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.documents import Departure, Status, Stored, Tombstone

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def cluster(how: str, **departure: Any) -> Stored:
    return Stored(
        kind="Cluster",
        name="prod-us",
        uid="u1",
        generation=3,
        created_at=NOW,
        updated_at=NOW,
        spec={"realm": "main", "key": "UKEY"},
        deleting=Tombstone(
            at=NOW, policy="Keep", by="ana", left=Departure.model_validate({"how": how, **departure})
        ),
    )


def told(status: Status) -> list[str]:
    return [one.type for one in status.outbox.pending]


def reason(status: Status, type_: str) -> str:
    found = conditions.find(status.conditions, type_)
    return found.reason if found else ""


@pytest.mark.parametrize(
    ("left", "kept", "event"),
    [
        ("revoked", words.REASON_REVOKED, words.EVENT_REVOKED),
        ("retired", words.REASON_RETIRED, words.EVENT_RETIRED),
    ],
)
def test_it_leaves_is_kept_and_goes_when_it_is_purged(left: str, kept: str, event: str) -> None:
    staying = leaving_status(cluster(left, stays=True, reason="INC-1"), None, NOW)
    assert reason(staying, words.LEAVING) == reason(staying, conditions.READY) == kept
    assert {reason(staying, one) for one in (words.CONNECTED, words.RESPONSIVE)} == {
        words.REASON_DISCONNECTED
    }
    assert told(staying) == [event]
    assert "INC-1" in staying.outbox.pending[0].message
    assert leaving_status(cluster(left, stays=True, reason="INC-1"), staying, NOW) == staying
    going = leaving_status(cluster(left, stays=False), staying, NOW)
    assert told(going) == [event, words.EVENT_REMOVED]
    assert leaving_status(cluster(left, stays=False), going, NOW) == going


def test_one_that_is_purged_at_once_tells_both() -> None:
    going = leaving_status(cluster("revoked"), None, NOW)
    assert told(going) == [words.EVENT_REVOKED, words.EVENT_REMOVED]
    assert [one.severity for one in going.outbox.pending] == ["Warning", "Normal"]
