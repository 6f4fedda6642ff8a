"""Documents, conditions and outboxes: what operators write is strict, what has happened is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetbus.schemas import catalogue, conditions
from fleetbus.schemas.capabilities.bundles import Bundle, prune_limit
from fleetbus.schemas.capabilities.sources import Source
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.desired import Head, newer, next_serial
from fleetbus.schemas.documents import placement_limit
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.events import MAX_OUTBOX, Happened, Outbox, cloud_event

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def bundle(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": "Bundle",
        "metadata": {"name": "ingress"},
        "spec": {"source": "platform", "placement": {"selector": {}}, **spec},
    }


def test_a_bundle_reads_back_as_it_was_written() -> None:
    once = Bundle.model_validate(bundle()).as_json()
    assert Bundle.model_validate(once).as_json() == once


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"pth": "x"}, "pth"),
        ({"path": "/etc"}, "path"),
        ({"path": "a/../../b"}, "path"),
        ({"untarget": "keep"}, "untarget"),
        ({"placement": {"clusters": ["7"]}}, "clusters"),
        (
            {"placement": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
            "matchExpressions",
        ),
    ],
)
def test_a_wrong_field_is_named(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Bundle.model_validate(bundle(**spec))
    assert any(field in error["loc"] for error in refusal.value.errors())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://ana:hunter2@git.example.com/a.git", "carries a credential"),
        ("https://hunter2@git.example.com/a.git", "carries a credential"),
        ("ssh://git:hunter2@git.example.com/a.git", "carries a credential"),
        ("https://evil.example.com\\@git.example.com/a.git", "carries a credential"),
        ("ssh://git@git.example.com:22@evil.example.com/a.git", "carries a credential"),
        ("file:///a b", "blanks"),
    ],
)
def test_an_address_that_carries_a_credential_is_no_document(url: str, message: str) -> None:
    """And the refusal does not quote it."""
    document = bundle() | {"kind": "Source", "spec": {"git": {"url": url}}}
    with pytest.raises(ValidationError) as refusal:
        Source.model_validate(document)
    (told,) = refusal.value.errors()
    assert message in told["msg"]
    assert "hunter2" not in told["msg"]


@pytest.mark.parametrize("word", ["Bundle", "bundle", "bundles", "bu", "BU"])
def test_a_kind_has_many_names(word: str) -> None:
    assert catalogue.kind_named(word) == "Bundle"


@given(st.integers(0, 10_000))
def test_the_brake_never_lets_everything_go(recorded: int) -> None:
    assert prune_limit(recorded) <= max(recorded - 1, 0)
    assert prune_limit(recorded) <= max(5, recorded // 5)
    assert placement_limit(recorded) >= 1


def condition(type_: str, status: Any, at: datetime = NOW, reason: str = "Because") -> Condition:
    return Condition(type=type_, status=status, reason=reason, last_transition_at=at)


def test_a_transition_time_moves_only_with_the_status() -> None:
    later = NOW + timedelta(hours=1)
    old = conditions.put((), condition("Applied", "True"))
    same = conditions.put(old, condition("Applied", "True", later, "Other"))
    changed = conditions.put(old, condition("Applied", "False", later))
    assert same[0].last_transition_at == NOW
    assert same[0].reason == "Other"
    assert changed[0].last_transition_at == later


@given(st.lists(st.sampled_from(["True", "False", "Unknown"]), max_size=6))
def test_ready_is_a_function_of_the_parts(statuses: list[Any]) -> None:
    parts = [condition(f"C{n}", status) for n, status in enumerate(statuses)]
    ready = conditions.summarise(parts, NOW)
    expected = "False" if "False" in statuses else "Unknown" if "Unknown" in statuses else "True"
    assert ready.status == expected
    assert ready.reason


@given(st.lists(st.integers(1, 5), max_size=200))
def test_an_outbox_counts_on_and_stays_bounded(counts: list[int]) -> None:
    outbox = Outbox()
    for count in counts:
        happened = [Happened(type="bundle.applied", subject="bundle/x", reason="Applied")] * count
        outbox = outbox.with_(NOW, *happened)
    assert outbox.sequence == sum(counts)
    assert len(outbox.pending) <= MAX_OUTBOX
    sequences = [one.sequence for one in outbox.pending]
    assert sequences == list(range(outbox.sequence - len(sequences) + 1, outbox.sequence + 1))
    if sum(counts) > MAX_OUTBOX:
        note = outbox.pending[0]
        assert (note.type, note.details) == ("events.lost", {"count": sum(counts) - MAX_OUTBOX + 1})


def test_an_outbox_forgets_only_what_was_published() -> None:
    happened = Happened(type="bundle.applied", subject="bundle/x", reason="Applied")
    outbox = Outbox().with_(NOW, happened, happened, happened).without(2)
    assert [one.sequence for one in outbox.pending] == [3]
    assert outbox.without(7).sequence == 7


def test_an_event_is_identified_by_origin_and_sequence() -> None:
    (transition,) = Outbox().with_(NOW, Happened(type="a.b", subject="bundle/x", reason="R")).pending
    event = cloud_event("demo", "dev-eu", "uid/facts", transition)
    assert event.id == "uid/facts.1"
    assert event.source == "/fleets/demo/clusters/dev-eu"
    assert event.type == "dev.fleetbus.a.b.v1"
    assert event.short_type == "a.b"


def head(epoch: int, serial: int) -> Head:
    return Head(
        fleet="demo", cluster="uid", epoch=epoch, serial=serial, issued_at=NOW, not_after=NOW, set="0" * 64
    )


@given(st.integers(0, 5), st.integers(0, 2**50), st.integers(0, 5), st.integers(0, 2**50))
def test_newer_is_a_strict_order(epoch: int, serial: int, other_epoch: int, other_serial: int) -> None:
    ours, theirs = head(epoch, serial), (other_epoch, other_serial)
    assert newer(ours, theirs) == ((epoch, serial) > theirs)
    assert not newer(ours, (epoch, serial))


@given(st.integers(0, 2**50))
def test_a_serial_always_grows(last: int) -> None:
    assert next_serial(last, NOW) > last
    assert next_serial(last, NOW) >= int(NOW.timestamp() * 1000)


def test_what_comes_off_the_bus_may_know_more_than_we() -> None:
    wide = {**head(1, 2).as_json(), "invented": {"later": True}}
    assert Head.from_json(wide) == head(1, 2)


def test_what_comes_off_the_bus_and_is_wrong_is_named_without_its_value() -> None:
    with pytest.raises(MessageMalformed, match="serial") as refusal:
        Head.from_json({**head(1, 2).as_json(), "serial": "s3cret"})
    assert "s3cret" not in str(refusal.value)


@given(st.integers(0, 5), st.integers(0, 10))
def test_an_outbox_that_was_lost_counts_on_from_the_events(pending: int, published: int) -> None:
    happened = Happened(type="bundle.applied", subject="bundle/x", reason="Applied")
    begun = Outbox().with_(NOW, *[happened] * pending)
    outbox = begun.counted_on(published)
    if published <= pending:
        assert outbox == begun
    else:
        assert [one.sequence for one in outbox.pending] == [published + n for n in range(1, pending + 1)]
        assert outbox.with_(NOW, happened).sequence == published + pending + 1
