"""NATS JWTs, version 2: claims of operators, accounts and users, signed by nkeys (github.com/nats-io/jwt).

A token is made in two steps, since whoever signs may be far away: `unsigned` gives the bytes to sign, `signed`
puts the signature behind them. The same claims at the same time are the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nacl.exceptions import BadSignatureError

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import FleetbusError, MessageMalformed, SignatureRefused
from fleetbus.schemas.nkeys import Kind, verify_key

VERSION = 2
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_MOST_BYTES = 1024 * 1024
"""As in one message of the bus, which brings each token to the servers."""
_ISSUERS: Mapping[str, Kind] = {
    "operator": Kind.OPERATOR,
    "account": Kind.OPERATOR,
    "user": Kind.ACCOUNT,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: `body` is its part `nats`, `subject` the key it is about, `issuer` the key that signed.

    `issued_at` and `expires_at` are seconds since 1970; `expires_at` 0 is never.
    """

    kind: str
    subject: str
    issuer: str
    name: str
    issued_at: int
    expires_at: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)

    def says_the_same(self, other: Claims) -> bool:
        """But for when it was said."""
        mine, theirs = (_payload(one) | {"iat": 0} for one in (self, other))
        return canonical(mine) == canonical(theirs)


def unsigned(claims: Claims) -> bytes:
    """The bytes that the issuer signs."""
    payload = _payload(claims)
    # The server takes two tokens with one id for the same one.
    identity = base64.b32encode(hashlib.new("sha512_256", canonical(payload)).digest())
    payload["jti"] = identity.decode().rstrip("=")
    return b".".join(_encoded(canonical(part)) for part in (_HEADER, payload))


def signed(content: bytes, signature: bytes) -> str:
    """The token of what `unsigned` gave."""
    return b".".join((content, _encoded(signature))).decode()


def read(token: str) -> Claims:
    """What a token says, whoever signed it. Raises MessageMalformed."""
    return _split(token)[0]


def verify(token: str) -> Claims:
    """What a token says, if its issuer signed it and is of a kind that may issue such a one.

    Whether that issuer is the right one is the caller's question. Raises MessageMalformed, SignatureRefused.
    """
    claims, content, signature = _split(token)
    try:
        verify_key(claims.issuer, _ISSUERS[claims.kind]).verify(content, signature)
    except (BadSignatureError, FleetbusError, ValueError, TypeError) as error:
        raise SignatureRefused("the token's issuer did not sign it") from error
    return claims


def _payload(claims: Claims) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "sub": claims.subject,
        "iss": claims.issuer,
        "name": claims.name,
        "iat": claims.issued_at,
        "nats": {**claims.body, "type": claims.kind, "version": VERSION},
    }
    if claims.expires_at:
        payload["exp"] = claims.expires_at
    return payload


def _split(token: str) -> tuple[Claims, bytes, bytes]:
    parts = token.strip().split(".")
    if len(parts) != 3 or len(token) > _MOST_BYTES:
        raise MessageMalformed("not a token of three parts")
    header, payload = (parse_json(_decoded(part)) for part in parts[:2])
    if header != _HEADER:
        raise MessageMalformed("not a token that an nkey signed")
    claims = _claims(payload)
    return claims, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2])


def _claims(payload: Any) -> Claims:
    if not isinstance(payload, dict) or not isinstance(body := payload.get("nats"), dict):
        raise MessageMalformed("a token without claims")
    kind, version = body.get("type"), body.get("version")
    if not isinstance(kind, str) or kind not in _ISSUERS or version != VERSION:
        raise MessageMalformed("a token of a kind or version that is not known")
    rest = {key: value for key, value in body.items() if key not in ("type", "version")}
    return Claims(
        kind,
        subject=_text(payload, "sub"),
        issuer=_text(payload, "iss"),
        name=_text(payload, "name"),
        issued_at=_seconds(payload, "iat"),
        expires_at=_seconds(payload, "exp"),
        body=rest,
    )


def _text(payload: Mapping[str, Any], key: str) -> str:
    value = payload.get(key, "")
    if not isinstance(value, str):
        raise MessageMalformed(f"a token whose `{key}` is no text")
    return value


def _seconds(payload: Mapping[str, Any], key: str) -> int:
    value = payload.get(key, 0)
    if type(value) is not int or not 0 <= value < 2**53:
        raise MessageMalformed(f"a token whose `{key}` is no time")
    return value


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageMalformed("a token that is not base64") from error
