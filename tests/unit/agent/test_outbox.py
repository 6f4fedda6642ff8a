"""What is kept of an aspect comes back, fits its bounds, and shrinks by what events show."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleetbus.agent.outbox import MAX_STATE_BYTES, Record, bounded, fitting, parse_record, published_up_to
from fleetbus.agent.text import cut
from fleetbus.schemas.events import EMITTED_HEADER, Happened, Outbox, cloud_event, emitted_header
from fleetbus.schemas.states import State

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def outbox(count: int, message: str = "m") -> Outbox:
    happened = [Happened(type="a.b", subject="s", reason="R", message=message) for _ in range(count)]
    return Outbox().with_(NOW, *happened)


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_record_is_kept_whole_or_packed(size: int) -> None:
    record = Record(serial=7, body={"text": "x" * size}, outbox=outbox(3))
    kept = record.kept()

    assert ("packed" in kept) == (size > 4096)
    assert parse_record(kept) == record


@pytest.mark.parametrize(
    "kept", [None, {}, {"packed": "?"}, {"serial": "x"}, {"serial": 1, "body": 5, "outbox": {}}]
)
def test_what_cannot_be_read_counts_as_nothing(kept: dict[str, object] | None) -> None:
    assert parse_record(kept) == Record()


def test_a_state_is_bounded_and_keeps_the_oldest_transitions() -> None:
    many = outbox(200, "x" * 5000)
    state = State(fleet="f", cluster="c", uid="u", aspect="a", serial=1, at=NOW, outbox=many)
    smaller = bounded(state)

    assert len(smaller.to_bytes()) <= MAX_STATE_BYTES
    assert smaller.outbox.pending == many.pending[: len(smaller.outbox.pending)]


def test_messages_are_cut_at_whole_characters() -> None:
    one = Happened(type="a.b", subject="s", reason="R", message="ä" * 300)
    assert len(fitting(one).message.encode()) <= 256
    assert fitting(one).message.endswith("…")
    assert cut("short") == "short"


def test_the_last_event_tells_how_far_every_aspect_has_come() -> None:
    event = cloud_event("f", "c", "uid/facts", outbox(4).pending[3])
    headers = {EMITTED_HEADER: emitted_header({"uid/facts": 3, "uid/bundles-1": 9, "other/facts": 5})}

    assert published_up_to(event.to_bytes(), headers, "uid") == {"facts": 4, "bundles-1": 9}
    assert published_up_to(b"garbage", {}, "uid") == {}
