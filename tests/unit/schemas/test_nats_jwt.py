"""Tokens: what was signed is read back, and whatever else is refused without harm."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.schemas.credentials import Credential, credential_text, parse_credential
from fleetbus.schemas.errors import MessageMalformed, Refused, SettingsInvalid, SignatureRefused
from fleetbus.schemas.nats_jwt import Claims, read, signed, unsigned, verify
from fleetbus.schemas.nkeys import Kind, public_key, seed_of

OPERATOR, ACCOUNT, USER = (SigningKey(bytes([byte]) * 32) for byte in (1, 2, 3))
ISSUERS = {
    "operator": (OPERATOR, Kind.OPERATOR),
    "account": (OPERATOR, Kind.OPERATOR),
    "user": (ACCOUNT, Kind.ACCOUNT),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def claims_of(kind: str, **fields: Any) -> Claims:
    issuer = public_key(*ISSUERS[kind])
    given_: dict[str, Any] = {
        "subject": public_key(USER),
        "issuer": issuer,
        "name": "c1",
        "issued_at": 5,
    } | fields
    return Claims(kind, **given_)


def token_of(claims: Claims, key: SigningKey | None = None) -> str:
    content = unsigned(claims)
    return signed(content, (key or ISSUERS[claims.kind][0]).sign(content).signature)


@given(
    st.sampled_from(sorted(ISSUERS)),
    st.text(),
    st.integers(0, 2**53 - 1),
    st.dictionaries(st.text(min_size=1).filter(lambda key: key not in ("type", "version")), JSON, max_size=4),
)
def test_what_was_signed_is_read_back(kind: str, name: str, at: int, body: dict[str, Any]) -> None:
    claims = claims_of(kind, name=name, issued_at=at, expires_at=at, body=body)
    token = token_of(claims)
    assert verify(token) == read(token) == claims
    assert token == token_of(claims)


def test_when_it_was_said_makes_no_difference_to_what_is_said() -> None:
    claims = claims_of("user", body={"a": [1]})
    assert claims.says_the_same(replace(claims, issued_at=9))
    for other in ({"name": "c2"}, {"expires_at": 1}, {"body": {"a": [2]}}, {"issuer": "A"}, {"subject": "U"}):
        assert not claims.says_the_same(replace(claims, **other))


def test_two_tokens_have_two_ids() -> None:
    ids = {
        json.loads(base64.urlsafe_b64decode(unsigned(one).split(b".")[1] + b"=="))["jti"]
        for one in (
            claims_of("account"),
            claims_of("account", body={"a": 1}),
            claims_of("account", issued_at=6),
        )
    }
    assert len(ids) == 3
    assert {len(one) for one in ids} == {52}


def test_another_key_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        verify(token_of(claims_of("user"), USER))


def test_an_issuer_of_another_kind_is_refused() -> None:
    """A user's key makes no user, an account's no account."""
    for kind, key, of in (
        ("user", USER, Kind.USER),
        ("account", ACCOUNT, Kind.ACCOUNT),
        ("user", OPERATOR, Kind.OPERATOR),
    ):
        with pytest.raises(SignatureRefused):
            verify(token_of(claims_of(kind, issuer=public_key(key, of)), key))


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    token = bytearray(token_of(claims_of("user")).encode())
    place = data.draw(st.integers(0, len(token) - 88))
    token[place] ^= data.draw(st.integers(1, 127))
    with pytest.raises(Refused):
        verify(token.decode("latin-1"))


@given(st.text(max_size=200))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(MessageMalformed):
        read(text)


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {},
        {"nats": []},
        {"nats": {"type": "user", "version": 1}},
        {"nats": {"type": "activation", "version": 2}},
        {"nats": {"type": ["user"], "version": 2}},
        {"sub": 1, "nats": {"type": "user", "version": 2}},
        {"iat": "1", "nats": {"type": "user", "version": 2}},
        {"iat": True, "nats": {"type": "user", "version": 2}},
        {"exp": -1, "nats": {"type": "user", "version": 2}},
    ],
)
def test_claims_of_the_wrong_shape_are_refused(payload: Any) -> None:
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, payload)
    encoded = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts]
    with pytest.raises(MessageMalformed):
        read(".".join([*encoded, ""]))


def test_another_algorithm_is_refused() -> None:
    token = token_of(claims_of("user")).split(".")
    headers: list[Any] = [{"typ": "JWT", "alg": "none"}, {"typ": "JWT", "alg": "ed25519"}, []]
    for header in headers:
        token[0] = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
        with pytest.raises(MessageMalformed):
            read(".".join(token))


def test_a_credential_is_read_back_from_its_file() -> None:
    credential = Credential(token_of(claims_of("user")), seed_of(USER))
    assert parse_credential(credential_text(credential)) == credential
    assert parse_credential(credential_text(credential).replace("\n", "\r\n")) == credential
    assert credential.nkey == public_key(USER)
    assert credential.seed not in repr(credential)


def test_a_credential_of_another_key_or_kind_is_refused_without_a_quote() -> None:
    seed = seed_of(OPERATOR)
    for token, given_ in (
        (token_of(claims_of("user")), seed),
        (token_of(claims_of("account")), seed_of(USER)),
        ("nonsense", seed),
    ):
        with pytest.raises(SettingsInvalid) as refused:
            Credential(token, given_)
        assert given_ not in refused.value.sentence()
    for text in ("", seed, credential_text(Credential(token_of(claims_of("user")), seed_of(USER)))[:200]):
        with pytest.raises(SettingsInvalid):
            parse_credential(text)
