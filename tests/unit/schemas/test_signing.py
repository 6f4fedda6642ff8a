"""Signatures: only what was signed for this subject by a known key is accepted, and nothing else parses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.schemas import signing
from fleetbus.schemas.errors import MessageMalformed, MessageTooNew, Refused, SignatureRefused
from fleetbus.schemas.nkeys import public_key

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(range(1, 33)))
NAME = public_key(KEY)


@given(st.binary(max_size=400))
def test_what_was_signed_verifies(content: bytes) -> None:
    assert signing.verify("a.b", signing.signer(KEY)("a.b", content), {NAME}) == content


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_changed_byte_is_refused(content: bytes, data: st.DataObject) -> None:
    envelope = bytearray(signing.signer(KEY)("a.b", content))
    place = data.draw(st.integers(len(envelope) - len(content), len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureRefused):
        signing.verify("a.b", bytes(envelope), {NAME})


def test_another_subject_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        signing.verify("a.c", signing.signer(KEY)("a.b", b"{}"), {NAME})


def test_another_key_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="0 of 1"):
        signing.verify("a.b", signing.signer(OTHER)("a.b", b"{}"), {NAME})


def test_a_threshold_counts_different_keys() -> None:
    names = {NAME, public_key(OTHER)}
    both = signing.signer(KEY, OTHER)("a.b", b"{}")
    twice = signing.signer(KEY, KEY)("a.b", b"{}")
    assert signing.verify("a.b", both, names, threshold=2) == b"{}"
    with pytest.raises(SignatureRefused, match="1 of 2"):
        signing.verify("a.b", twice, names, threshold=2)


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (b"", MessageMalformed),
        (b"{}", MessageMalformed),
        (b"fleetbus1 x.y", MessageMalformed),
        (b"fleetbus1 \xff.y\n{}", MessageMalformed),
        (b"fleetbus1\n{}", SignatureRefused),
        (b"fleetbus2 a.b\n{}", MessageTooNew),
        (b"fleetbus1 " + b"a" * 5000 + b"\n{}", MessageMalformed),
    ],
)
def test_no_envelope_is_named(envelope: bytes, error: type[Refused]) -> None:
    with pytest.raises(error):
        signing.verify("a.b", envelope, {NAME})


@given(st.binary(max_size=300))
def test_garbage_only_ever_gives_a_refusal(envelope: bytes) -> None:
    with pytest.raises(Refused):
        signing.verify("a.b", envelope, {NAME})
