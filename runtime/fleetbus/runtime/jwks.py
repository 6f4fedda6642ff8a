"""Public keys of a token issuer: from the JSON Web Key Set that it serves to the PEM that Vault takes."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fleetbus.schemas.errors import ObjectInvalid

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}


def public_keys(key_set: dict[str, Any]) -> list[str]:
    """Each signing key of a JWKS (RFC 7517) as PEM, in its order; RSA and elliptic curves.

    Raises ObjectInvalid when there is none or one is malformed: half a key set would lock somebody out.
    """
    keys = key_set.get("keys")
    if not isinstance(keys, list):
        raise ObjectInvalid("not a JSON Web Key Set", where="jwks")
    found = [_pem(key) for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    if not found:
        raise ObjectInvalid("the key set has no signing key", where="jwks")
    return found


def _pem(key: dict[str, Any]) -> str:
    try:
        public = _public_key(key)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ObjectInvalid("a key of the set is malformed", where="jwks") from error
    encoded = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def _public_key(key: dict[str, Any]) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    if key["kty"] == "RSA":
        return rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
    if key["kty"] == "EC":
        curve = _CURVES[key["crv"]]()
        return ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
    raise ValueError(f"keys of type {key['kty']} are not known")


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
