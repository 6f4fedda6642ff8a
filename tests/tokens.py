"""Tokens of users where no server looks who signed them."""

from __future__ import annotations

from nacl.signing import SigningKey

from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.nats_jwt import Claims, signed, unsigned
from fleetbus.schemas.nkeys import Kind, public_key, seed_of

ISSUER = SigningKey(b"an account of nobody's; 32 bytes")


TOKEN_ISSUER = public_key(ISSUER, Kind.ACCOUNT)


def user_token(nkey: str, name: str = "somebody") -> str:
    account = TOKEN_ISSUER
    claims = Claims("user", nkey, account, name, 1, body={"issuer_account": account})
    content = unsigned(claims)
    return signed(content, ISSUER.sign(content).signature)


def user_credential(key: SigningKey, name: str = "somebody") -> Credential:
    return Credential(user_token(public_key(key), name), seed_of(key))
