"""What is known: snapshots that do not move, nothing older after something newer, and what listeners are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fleetbus.controller.ports import Change
from fleetbus.controller.views import Known
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.desired import Head
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened, Outbox
from fleetbus.schemas.states import Facts, State
from fleetbus.schemas.subjects import ClusterId
from tests.unit.controller.fleet import AWAY, HERE

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = ("Cluster", "c1")


def cluster(uid: str = "doc-1", **spec: Any) -> Stored:
    return Stored(
        kind="Cluster",
        name="c1",
        uid=uid,
        generation=1,
        created_at=NOW,
        updated_at=NOW,
        spec={"realm": "main", "key": "U", **spec},
    )


def status(uid: str = "doc-1", **more: Any) -> Status:
    return Status(kind="Cluster", name="c1", uid=uid, **more)


def state(serial: int = 1) -> State:
    return State(fleet="test", cluster="c1", uid="u", aspect="facts", serial=serial, at=NOW)


def heard(known: Known) -> list[Change]:
    changes: list[Change] = []
    known.listeners.append(changes.append)
    return changes


def test_a_snapshot_stays_as_it_is_and_is_shared_until_something_moves() -> None:
    known = Known("test")
    known.put_document(cluster())
    before = known.view()
    assert known.view() is before
    known.put_state("c1", state(), Facts(kubernetes_version="v1"))
    assert before.clusters["c1"].facts is None
    assert known.view().clusters["c1"].facts == Facts(kubernetes_version="v1")


def test_a_sequence_is_news_once() -> None:
    known = Known("test")
    assert known.newer("a", 3)
    assert not known.newer("a", 3)
    assert not known.newer("a", 2)
    known.forget("a")
    assert known.newer("a", 2)


def test_a_status_of_a_former_document_is_not_the_new_ones() -> None:
    known = Known("test")
    known.put_document(cluster("doc-1"))
    known.put_status(status("doc-1"))
    known.drop_document(KEY)
    known.put_document(cluster("doc-2"))
    assert known.status(KEY) is None
    known.put_status(status("doc-1"))
    assert known.status(KEY) is None
    known.put_status(status("doc-2"))
    assert known.status(KEY) is not None


def test_a_trimmed_outbox_is_told_as_nothing_else() -> None:
    known = Known("test")
    known.put_document(cluster())
    known.put_status(status(outbox=Outbox().with_(NOW, Happened(type="a.b", subject="s", reason="R"))))
    changes = heard(known)
    known.put_status(status(outbox=Outbox(sequence=1)))
    condition = Condition(type="Ready", status="True", reason="Ready", last_transition_at=NOW)
    known.put_status(status(outbox=Outbox(sequence=1), conditions=(condition,)))
    assert [change.aspect for change in changes] == ["outbox", ""]


def test_a_head_is_there_for_a_cluster_that_comes_after_it() -> None:
    known = Known("test")
    head = Head(fleet="test", cluster="u", epoch=1, serial=7, issued_at=NOW, not_after=NOW, set="0" * 64)
    known.put_head(ClusterId("main", "c1"), head)
    known.put_document(cluster())
    assert known.view().clusters["c1"].published == (1, 7)
    known.put_document(cluster(realm="other"))
    assert known.view().clusters["c1"].published == (0, 0)


def test_presence_is_told_when_it_turns() -> None:
    known = Known("test")
    known.put_document(cluster())
    changes = heard(known)
    version = known.version("Cluster")
    for presence in (HERE, HERE, AWAY, AWAY):
        known.put_seen("c1", NOW)
        known.put_presence("c1", presence)
    assert [change.what for change in changes] == ["presence", "presence"]
    assert known.version("Cluster") == version + 2
    assert known.view().clusters["c1"].last_seen_at == NOW


def test_a_cluster_document_that_cannot_be_read_is_no_cluster() -> None:
    known = Known("test")
    known.put_document(cluster(realm="NOT A REALM"))
    known.put_seen("c1", NOW)
    assert known.view().clusters == {}
