"""Whatever is changed, taken out, doubled or moved in a chain is found; and an untouched one has nothing to find."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.schemas.audit import (
    ORIGIN,
    AuditRecord,
    Link,
    Walk,
    ended,
    exported,
    imported,
    parse_link,
    passed,
    sealed,
    step,
)
from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer

KEY, OTHER = SigningKey(bytes(32)), SigningKey(bytes(range(32)))
AT = datetime(2026, 11, 24, tzinfo=UTC)
Entry = tuple[str, bytes]
TEXTS = st.text(max_size=20)


def chain(texts: list[str], key: SigningKey = KEY, begin: Link = ORIGIN) -> tuple[list[Entry], Link]:
    entries: list[Entry] = []
    link = begin
    for text in texts:
        record = AuditRecord(
            fleet="demo",
            number=link.number + 1,
            previous=link.digest,
            at=AT,
            actor="ana",
            action="apply",
            outcome="done",
            reason=text,
        )
        subject, envelope, link = sealed(record, signer(key))
        entries.append((subject, envelope))
    return entries, link


def walk(entries: list[Entry], newest: Link | None, begin: Link | None = ORIGIN) -> Walk:
    found = Walk(last=begin)
    for subject, envelope in entries:
        found = step(found, subject, envelope, {public_key(KEY)}, "demo")
    return ended(found, newest)


CHAINS = st.lists(TEXTS, min_size=2, max_size=8)


@given(CHAINS)
def test_an_untouched_chain_has_nothing_to_find(texts: list[str]) -> None:
    entries, newest = chain(texts)
    found = walk(entries, newest)
    assert (found.wrong, found.records, found.last) == (0, len(texts), newest)
    assert walk(entries[1:], newest, None).wrong == 0, "a chain may be read from its middle on"


@given(CHAINS, st.data())
def test_any_changed_byte_is_found(texts: list[str], data: st.DataObject) -> None:
    entries, newest = chain(texts)
    which = data.draw(st.integers(0, len(entries) - 1))
    subject, envelope = entries[which]
    place = data.draw(st.integers(0, len(envelope) - 1))
    changed = bytearray(envelope)
    changed[place] ^= data.draw(st.integers(1, 255))
    entries[which] = (subject, bytes(changed))
    # The last bits of a signature's base64 mean nothing: a change there is none.
    assert walk(entries, newest).wrong or _same_signature(envelope, bytes(changed))


def _same_signature(one: bytes, other: bytes) -> bool:
    return one.partition(b"\n")[2] == other.partition(b"\n")[2]


@given(CHAINS, st.data())
def test_a_record_that_is_taken_out_is_found(texts: list[str], data: st.DataObject) -> None:
    entries, newest = chain(texts)
    del entries[data.draw(st.integers(0, len(entries) - 1))]
    assert walk(entries, newest).wrong


@given(CHAINS, st.data())
def test_records_that_are_swapped_or_doubled_are_found(texts: list[str], data: st.DataObject) -> None:
    entries, newest = chain(texts)
    one, other = data.draw(
        st.lists(st.integers(0, len(entries) - 1), min_size=2, max_size=2, unique=True).map(tuple)
    )
    doubled = [*entries, entries[one]]
    entries[one], entries[other] = entries[other], entries[one]
    assert walk(entries, newest).wrong
    assert walk(doubled, newest).wrong


@given(CHAINS, st.data())
def test_contents_under_each_others_subjects_are_found(texts: list[str], data: st.DataObject) -> None:
    entries, newest = chain(texts)
    one, other = 0, data.draw(st.integers(1, len(entries) - 1))
    first, second = entries[one], entries[other]
    entries[one], entries[other] = (first[0], second[1]), (second[0], first[1])
    assert walk(entries, newest).wrong


@given(CHAINS, CHAINS)
def test_a_tail_that_was_cut_off_and_grown_anew_is_found_by_who_saw_it(
    texts: list[str], anew: list[str]
) -> None:
    """Only by him: the new tail is as good as the old one to everybody else."""
    entries, newest = chain(texts)
    _, before = chain(texts[:-1])
    grown, end = chain([texts[-1] + "!", *anew], begin=before)
    found = walk([*entries[:-1], *grown], end)
    assert found.wrong == 0
    seen = Walk()
    for subject, envelope in [*entries[:-1], *grown]:
        seen = passed(step(seen, subject, envelope, {public_key(KEY)}), newest)
    assert seen.wrong
    assert walk(entries[:-1], newest).wrong


@given(CHAINS)
def test_what_another_key_signed_is_found(texts: list[str]) -> None:
    entries, newest = chain(texts, OTHER)
    assert walk(entries, newest).wrong >= len(texts)


def by_keys(*parts: tuple[list[str], SigningKey]) -> Walk:
    """The walk along what these keys have signed one after the other, where KEY is the present one."""
    found, link = Walk(), ORIGIN
    for texts, key in parts:
        entries, link = chain(texts, key, link)
        for subject, envelope in entries:
            found = step(found, subject, envelope, {public_key(KEY)}, "demo", {public_key(OTHER)})
    return found


@given(CHAINS, CHAINS)
def test_a_former_key_counts_until_the_present_one_has_signed(before: list[str], after: list[str]) -> None:
    assert by_keys((before, OTHER)).wrong == 0
    assert by_keys((before, OTHER), (after, KEY)).wrong == 0
    assert by_keys((before, OTHER), (after, KEY), (before, OTHER)).wrong == len(before)


@given(CHAINS)
def test_a_line_of_an_export_proves_itself(texts: list[str]) -> None:
    entries, newest = chain(texts)
    for subject, envelope in entries:
        line = parse_json(canonical(exported(subject, envelope, newest)))
        assert imported(line) == (subject, envelope, newest)
    assert parse_link(str(newest)) == newest
