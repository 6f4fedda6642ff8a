"""What the status of a cluster that left says, and which events tell of it, each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fleetbus.controller.decisions.leaving import departed, leaving_status
from fleetbus.controller.doors.admitting import _refuse_going
from fleetbus.controller.doors.retiring import _kept
from fleetbus.controller.views import Known
from fleetbus.schemas import conditions
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.documents import Departure, Status, Stored, Tombstone
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.subjects import ClusterId

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


def test_one_that_left_in_peace_and_was_kept_can_be_revoked_and_that_is_told() -> None:
    retired = departed(None, "retired", NOW, by="ana", reason="moved")
    assert retired.left == Departure(how="retired", reason="moved", stays=True)
    later = NOW + timedelta(hours=1)
    revoked = departed(retired, "revoked", later, by="bea", reason="INC-1")
    assert (revoked.at, revoked.by) == (later, "bea")
    assert revoked.left == Departure(how="revoked", reason="INC-1", stays=True)
    status = leaving_status(cluster("retired", stays=True), None, NOW)
    status = leaving_status(cluster("revoked", stays=True, reason="INC-1"), status, later)
    assert told(status) == [words.EVENT_RETIRED, words.EVENT_REVOKED]
    assert reason(status, conditions.READY) == words.REASON_REVOKED
    assert leaving_status(cluster("revoked", stays=True, reason="INC-1"), status, later) == status
    going = departed(retired, "revoked", later, by="bea", purge=True).left
    assert going == Departure(how="revoked", stays=False)
    status = leaving_status(cluster("retired", stays=True), None, NOW)
    gone = told(leaving_status(cluster("revoked"), status, later))
    assert gone == [words.EVENT_RETIRED, words.EVENT_REVOKED, words.EVENT_REMOVED]


def test_a_revocation_is_not_taken_back_and_what_goes_does_not_stay() -> None:
    revoked = departed(None, "revoked", NOW, by="ana", reason="INC-1")
    assert departed(revoked, "retired", NOW, by="bea") == revoked
    going = departed(revoked, "retired", NOW, by="bea", purge=True)
    assert going.left == Departure(how="revoked", reason="INC-1", stays=False)
    assert departed(going, "revoked", NOW, by="ana") == going


def test_what_is_going_already_is_not_said_to_be_kept() -> None:
    assert _kept(cluster("retired", stays=True), gone=False).endswith("are kept")
    assert _kept(cluster("retired", stays=False), gone=False).endswith("are going")
    assert _kept(None, gone=True).endswith("are gone")


def test_no_token_is_made_for_a_name_while_what_is_known_of_it_goes() -> None:
    """It would go as well, before anybody has used it."""
    known = Known("test")
    desk: Any = SimpleNamespace(known=known)
    for stays in (True, False):
        known.put_document(cluster("retired", stays=stays).model_copy(update={"updated_at": NOW}))
        if stays:
            _refuse_going(desk, ClusterId("main", "prod-us"))
    with pytest.raises(NotPossible, match="is going"):
        _refuse_going(desk, ClusterId("main", "prod-us"))
