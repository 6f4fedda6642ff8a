"""Tokens that nats-io/jwt 2.8.2 made are read and verified as they were meant.

`tokens/` holds one of each kind, signed by keys of 32 equal bytes: operator 1, account 2, role 3, user 4.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.schemas.nats_jwt import verify
from fleetbus.schemas.nkeys import Kind, public_key

TOKENS = Path(__file__).parent / "tokens"
OPERATOR, ACCOUNT, ROLE, USER = (
    public_key(SigningKey(bytes([byte]) * 32), kind)
    for byte, kind in ((1, Kind.OPERATOR), (2, Kind.ACCOUNT), (3, Kind.ACCOUNT), (4, Kind.USER))
)


@pytest.mark.parametrize(
    ("kind", "name", "subject", "issuer"),
    [
        ("operator", "fleet", OPERATOR, OPERATOR),
        ("account", "AGENTS_main", ACCOUNT, OPERATOR),
        ("user", "c1", USER, ROLE),
    ],
)
def test_a_token_of_the_library_is_understood(kind: str, name: str, subject: str, issuer: str) -> None:
    claims = verify((TOKENS / f"{kind}.jwt").read_text())
    assert (claims.kind, claims.name, claims.subject, claims.issuer) == (kind, name, subject, issuer)
    assert claims.issued_at > 1_700_000_000


def test_what_a_user_may_stands_in_its_account() -> None:
    account, user = (verify((TOKENS / f"{kind}.jwt").read_text()) for kind in ("account", "user"))
    (scope,) = account.body["signing_keys"]
    assert (scope["key"], scope["role"]) == (user.issuer, "agent")
    assert user.body["issuer_account"] == account.subject
