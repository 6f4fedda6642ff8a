"""Artifacts: content keeps its name through packing, and nothing else comes out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.schemas.artifacts import MAX_BYTES, MAX_PARTS, PART_BYTES, artifact, pack, parts_of, unpack
from fleetbus.schemas.canonical import canonical, compress, decompress, digest, parse_json
from fleetbus.schemas.errors import MessageMalformed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_pack_and_unpack_are_inverses(value: object) -> None:
    whole = artifact(value)
    stored = pack(whole)
    assert unpack(whole.name, stored[whole.name], stored) == whole.content
    assert parse_json(whole.content) == value


@given(json_values)
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: object) -> None:
    def turned(one: object) -> object:
        if isinstance(one, dict):
            return {key: turned(one[key]) for key in reversed(list(one))}
        return [turned(item) for item in one] if isinstance(one, list) else one

    assert canonical(value) == canonical(turned(value))


def test_a_large_artifact_is_an_index_and_parts_below_the_payload_limit() -> None:
    noise = random.Random(1).randbytes(3 * PART_BYTES).hex()
    whole = artifact({"noise": noise})
    stored = pack(whole)
    names = parts_of(stored[whole.name])
    assert names is not None
    assert len(names) >= 3
    assert list(stored)[-1] == whole.name
    assert all(len(value) <= PART_BYTES + 1 for value in stored.values())
    assert unpack(whole.name, stored[whole.name], stored) == whole.content


def test_a_missing_or_altered_part_is_refused() -> None:
    whole = artifact({"noise": random.Random(2).randbytes(2 * PART_BYTES).hex()})
    stored = pack(whole)
    first = (parts_of(stored[whole.name]) or [""])[0]
    without = {name: value for name, value in stored.items() if name != first}
    altered = {**stored, first: stored[first][:-1] + b"x"}
    for parts in (without, altered):
        with pytest.raises(MessageMalformed, match="does not have its digest"):
            unpack(whole.name, stored[whole.name], parts)


def test_an_index_lists_no_more_parts_than_the_largest_artifact_has() -> None:
    names = [digest(b"x")] * (MAX_PARTS + 1)
    assert MAX_PARTS * PART_BYTES > MAX_BYTES
    assert parts_of(b"\x01" + canonical({"parts": names[1:]})) == names[1:]
    with pytest.raises(MessageMalformed):
        parts_of(b"\x01" + canonical({"parts": names}))


def test_nothing_is_unpacked_beyond_the_limit() -> None:
    bomb = b"\x00" + compress(b"0" * (MAX_BYTES + 1))
    with pytest.raises(MessageMalformed, match="larger than"):
        unpack(digest(b""), bomb)


def test_another_name_is_refused() -> None:
    whole = artifact({"a": 1})
    with pytest.raises(MessageMalformed, match="does not have its digest"):
        unpack(digest(b"other"), pack(whole)[whole.name])


@given(st.binary(max_size=200))
def test_garbage_only_ever_gives_a_refusal(stored: bytes) -> None:
    with pytest.raises(MessageMalformed):
        unpack("0" * 64, stored)


def test_a_bomb_stops_at_the_limit() -> None:
    with pytest.raises(MessageMalformed, match="larger than 1000 bytes"):
        decompress(compress(b"0" * 1_000_000), 1000)


def test_what_follows_a_frame_is_refused() -> None:
    with pytest.raises(MessageMalformed, match="followed by"):
        decompress(compress(b"a") + b"garbage", 1000)
