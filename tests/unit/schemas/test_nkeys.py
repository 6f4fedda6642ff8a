"""Nkeys: text of a key and of its kind, as the server has them; whatever is not one is refused without a quote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import Kind, key_of_seed, nkey_of, public_key, seed_of, verify_key

KEY = SigningKey(bytes(range(32)))


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Kind))
def test_seeds_and_public_keys_parse_back(raw: bytes, kind: Kind) -> None:
    key = SigningKey(raw)
    seed, public = seed_of(key, kind), public_key(key, kind)
    assert seed.startswith("S" + kind.letter)
    assert public.startswith(kind.letter)
    assert key_of_seed(seed, kind) == key
    assert verify_key(public, kind) == key.verify_key
    assert nkey_of(bytes(key.verify_key), kind) == public


@pytest.mark.parametrize("kind", Kind)
def test_a_key_of_another_kind_is_refused(kind: Kind) -> None:
    for other in set(Kind) - {kind}:
        with pytest.raises(SettingsInvalid):
            key_of_seed(seed_of(KEY, kind), other)
        with pytest.raises(SettingsInvalid):
            verify_key(public_key(KEY, kind), other)


def test_the_texts_are_those_of_the_nkeys_library() -> None:
    """Made with github.com/nats-io/nkeys 0.4.16 from the same 32 bytes."""
    kinds = (Kind.OPERATOR, Kind.ACCOUNT, Kind.USER)
    assert [(seed_of(KEY, kind), public_key(KEY, kind)) for kind in kinds] == [
        (
            "SOAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2AJA",
            "OAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QZVT",
        ),
        (
            "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI",
            "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV",
        ),
        (
            "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y",
            "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
        ),
    ]


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33)])
def test_other_than_32_bytes_are_no_key(raw: bytes) -> None:
    with pytest.raises(SettingsInvalid):
        nkey_of(raw, Kind.ACCOUNT)


@pytest.mark.parametrize("text", ["", "SU", "not a seed", public_key(KEY), "SUAAAA" * 10, "ü" * 58])
def test_a_bad_seed_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        key_of_seed(text)
    assert not text or text not in str(refusal.value)
