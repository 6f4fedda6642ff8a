"""Subjects: builders and parsers are inverses, and hostile names never become a subject."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.schemas import subjects
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.subjects import ClusterId

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda name: name != "all")
kinds = st.sampled_from(["cluster", "source", "bundle", "secretbinding"])


@given(labels, labels, st.sampled_from(["session", "facts", "bundles-3"]))
def test_state_subjects_parse_back(realm: str, name: str, aspect: str) -> None:
    cluster = ClusterId(realm, name)
    parsed = subjects.parse_state(subjects.state(cluster, aspect))
    assert parsed == subjects.StateSubject(cluster, aspect)


@given(labels, labels)
def test_five_token_subjects_parse_back(realm: str, name: str) -> None:
    cluster = ClusterId(realm, name)
    for word, build in (
        ("desired", subjects.desired),
        ("command", subjects.command),
        ("result", subjects.result),
        ("heartbeat", subjects.heartbeat),
        ("answer", subjects.answer),
    ):
        assert subjects.parse_cluster(build(cluster), word) == cluster
        assert subjects.parse_cluster(build(cluster), "other") is None


@given(labels, labels, st.sampled_from(subjects.MAILBOXES))
def test_nudges_parse_back(realm: str, name: str, which: str) -> None:
    cluster = ClusterId(realm, name)
    assert subjects.parse_nudge(subjects.nudge(cluster, which)) == (cluster, which)


@given(kinds, labels)
def test_documents_parse_back(kind: str, name: str) -> None:
    assert subjects.parse_document(subjects.document(kind, name)) == subjects.DocumentSubject(kind, name)
    assert subjects.parse_document(subjects.status(kind, name)) == subjects.DocumentSubject(kind, name)


@given(labels, st.sampled_from(["bundle.applied", "cluster.agent-started", "a.b.c"]))
def test_events_parse_back(name: str, type_: str) -> None:
    parsed = subjects.parse_event(subjects.event("main", name, type_))
    assert parsed == subjects.EventSubject("main", name, type_)
    fleet = subjects.parse_event(subjects.event("main", subjects.FLEET, type_))
    assert fleet is not None
    assert fleet.cluster == subjects.FLEET


@pytest.mark.parametrize(
    "name",
    ["", "7", "7a", "all", "_term", "A", "a.b", "a*", ">", "a b", "a\x0bb", "a\n", "-a", "a-", "é", "a" * 64],
)
def test_a_hostile_cluster_name_is_refused(name: str) -> None:
    with pytest.raises(DocumentInvalid):
        ClusterId("main", name)


@given(st.text())
def test_no_text_reaches_a_subject_with_a_separator(name: str) -> None:
    try:
        subject = subjects.desired(ClusterId("main", name))
    except DocumentInvalid:
        return
    assert subject.count(".") == 4
    assert not any(character in subject for character in " *>\t\r\n\x0b")


@given(st.text())
def test_parsers_take_anything(subject: str) -> None:
    subjects.parse_state(subject)
    subjects.parse_event(subject)
    subjects.parse_document(subject)
    subjects.parse_nudge(subject)
    subjects.parse_artifact(subject)
    subjects.parse_cluster(subject, "desired")


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("*", "fleet.v1.event.>"),
        ("bundle.*", "fleet.v1.event.*.*.bundle.>"),
        ("bundle.applied", "fleet.v1.event.*.*.bundle.applied"),
    ],
)
def test_patterns_of_event_types(pattern: str, subject: str) -> None:
    assert subjects.events_matching(pattern) == subject


@pytest.mark.parametrize("pattern", ["bundle.>", "*.applied", "a b", "$SYS.*", ".."])
def test_a_hostile_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(DocumentInvalid):
        subjects.events_matching(pattern)
