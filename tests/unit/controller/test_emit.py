"""Which transitions are due, in which order, and what is left of a hostile one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller.emit import MOST_BYTES, Chain, Pending, due, fitting
from fleetbus.controller.recent import Recent
from fleetbus.schemas.catalogue import events_told_in
from fleetbus.schemas.events import Transition, cloud_event, emitted_header, emitted_in

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def transition(sequence: int, second: float = 0, type_: str = "bundle.applied") -> Transition:
    at = NOW + timedelta(seconds=second)
    return Transition(sequence=sequence, at=at, type=type_, subject="bundle/a", reason="Applied")


def test_only_what_the_chain_does_not_show_is_due() -> None:
    chain = Chain(9)
    chain.mark("u/a", 2)
    pending = [
        Pending("u/a", "c1", tuple(transition(n, n) for n in (1, 2, 3))),
        Pending("u/b", "c1", (transition(1, 2.5),)),
    ]
    assert [(one.origin, what.sequence) for one, what in due(chain, pending)] == [("u/b", 1), ("u/a", 3)]


def test_a_clock_that_went_back_does_not_change_an_origins_order() -> None:
    pending = [Pending("u/a", "c1", (transition(1, 10), transition(2, 5), transition(3, 7)))]
    assert [what.sequence for _, what in due(Chain(0), pending)] == [1, 2, 3]


@given(
    st.dictionaries(
        st.sampled_from(["u/a", "u/b", "u/c"]), st.lists(st.floats(0, 100), max_size=8), max_size=3
    ),
    st.integers(0, 24),
)
def test_killed_anywhere_every_transition_goes_out_once_and_in_order(
    times: dict[str, list[float]], killed_after: int
) -> None:
    """A fake chain: what was written, with its header, is all that the second emitter knows."""
    pending = [
        Pending(origin, None, tuple(transition(n, at) for n, at in enumerate(seconds, 1)))
        for origin, seconds in times.items()
    ]
    written: list[tuple[str, int]] = []
    header = ""

    def emit(chain: Chain, most: int) -> None:
        nonlocal header
        for one, what in due(chain, pending)[:most]:
            chain.mark(one.origin, what.sequence)
            header = emitted_header(chain.emitted)
            written.append((one.origin, what.sequence))

    emit(Chain(0), killed_after)
    restarted = Chain(len(written))
    restarted.emitted.update(emitted_in({"Fleetbus-Emitted": header} if header else {}))
    emit(restarted, 10_000)
    for one in pending:
        shown = [sequence for origin, sequence in written if origin == one.origin]
        assert shown == [what.sequence for what in one.transitions]


def test_hostile_text_becomes_one_short_printable_line() -> None:
    hostile = transition(1).model_copy(
        update={
            "subject": "bundle/\x1b[2Jx",
            "message": "line\none\x07" + "x" * 100_000,
            "details": {f"key{n}": "y" * 5000 for n in range(200)},
        }
    )
    short = fitting(hostile)
    assert short is not None
    event = cloud_event("test", "c1", "u/a", short)
    assert len(event.to_bytes()) < MOST_BYTES
    assert event.subject.isprintable()
    assert str(event.data["message"]).isprintable()


def test_a_type_that_is_no_events_makes_none() -> None:
    for type_ in ("", "x", "Bundle.Applied", "bundle.>", "bundle applied", "bundle..x", "a.\x0b7"):
        assert fitting(transition(1, type_=type_)) is None


def test_unreadable_headers_count_for_nothing() -> None:
    for text in ("", "{", "[]", '{"a":"b"}'):
        assert emitted_in({"Fleetbus-Emitted": text}) == {}


def test_an_origin_tells_only_its_own_types() -> None:
    assert fitting(transition(1), events_told_in("bundles-0")) is not None
    for type_ in ("bundle.deleted", "cluster.removed", "secret.revoked"):
        assert fitting(transition(1, type_=type_), events_told_in("bundles-0")) is None


def test_no_cluster_speaks_in_anothers_name() -> None:
    recent = Recent()
    about_c1 = transition(1).model_copy(update={"subject": "cluster/c1"})
    for number, source in enumerate(("c1", "c2", None)):
        recent.add(cloud_event("test", source, f"u{number}", about_c1))
    assert [event.source for event in recent.in_cluster("c1")] == ["/fleets/test/clusters/c1", "/fleets/test"]
