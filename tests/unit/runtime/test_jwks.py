"""Key sets of token issuers as PEM."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fleetbus.runtime.jwks import public_keys
from fleetbus.schemas.errors import ObjectInvalid


def number(value: int) -> str:
    size = (value.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(value.to_bytes(size)).rstrip(b"=").decode()


def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def test_each_signing_key_in_its_order() -> None:
    first = rsa.generate_private_key(65537, 2048).public_key()
    second = ec.generate_private_key(ec.SECP256R1()).public_key()
    rsa_numbers, ec_numbers = first.public_numbers(), second.public_numbers()
    keys = [
        {"kty": "RSA", "use": "sig", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)},
        {"kty": "RSA", "use": "enc", "n": "x", "e": "x"},
        {"kty": "EC", "crv": "P-256", "x": number(ec_numbers.x), "y": number(ec_numbers.y)},
    ]
    assert public_keys({"keys": keys}) == [pem(first), pem(second)]


@pytest.mark.parametrize(
    "key_set",
    [
        {},
        {"keys": []},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [{"kty": "RSA", "n": "AA", "e": "AA"}]},
        {"keys": [{"kty": "RSA", "n": 7, "e": "AQAB"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]},
        {"keys": [{"kty": "EC", "crv": "P-1", "x": "AQ", "y": "AQ"}]},
        {"keys": [{"kty": "oct", "k": "AQ"}]},
    ],
)
def test_a_malformed_key_set_is_refused_whole(key_set: dict[str, Any]) -> None:
    with pytest.raises(ObjectInvalid):
        public_keys(key_set)
