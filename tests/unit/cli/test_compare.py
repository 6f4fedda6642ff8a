"""Differences between what an account says and what it is to say: every single one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.compare import differences
from fleetbus.schemas.accounts import FLEET, OPERATORS, Keys, account_claims, accounts, role_key_name
from fleetbus.schemas.nats_jwt import Claims, signed, unsigned
from fleetbus.schemas.nkeys import Kind, public_key

KEY = SigningKey(b"o" * 32)
SIGNER = public_key(KEY, Kind.OPERATOR)
ACCOUNTS = {one.name: one for one in accounts({"main": 0}, 0)}
KEYS = Keys(
    {name: public_key(SigningKey(name.encode().ljust(32)), Kind.ACCOUNT) for name in ACCOUNTS},
    {
        name: public_key(SigningKey(name.encode().ljust(32)), Kind.ACCOUNT)
        for one in ACCOUNTS.values()
        for name in (role_key_name(one.name, role.name)[:32] for role in one.roles)
    },
)


def claims(name: str = OPERATORS) -> Claims:
    return account_claims(ACCOUNTS[name], KEYS, SIGNER, 1, {"U1": 5})


def token(told: Claims) -> str:
    content = unsigned(told)
    return signed(content, KEY.sign(content).signature)


@pytest.mark.parametrize("name", [OPERATORS, FLEET])
def test_what_says_the_same_differs_in_nothing(name: str) -> None:
    assert differences(claims(name), token(replace(claims(name), issued_at=99))) == ()


def scope(body: Any, role: str) -> Any:
    return next(one for one in body["signing_keys"] if one["role"] == role)


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "more": (
        lambda body: scope(body, "viewer")["template"]["pub"]["allow"].append("x"),
        "viewer may publish to x",
    ),
    "anything": (
        lambda body: scope(body, "viewer")["template"].pop("sub"),
        "viewer may subscribe to anything",
    ),
    "denied": (lambda body: scope(body, "viewer")["template"]["pub"].update(deny=["x"]), "viewer is denied"),
    "role gone": (lambda body: body["signing_keys"].pop(0), "no role viewer"),
    "role more": (lambda body: body["signing_keys"].append({"role": "r"}), "a role r that the contract does"),
    "unscoped": (lambda body: body["signing_keys"].append("AX"), "a role without a scope (AX)"),
    "other key": (lambda body: scope(body, "admin").update(key="AX"), "admin has another key"),
    "bytes": (lambda body: scope(body, "admin")["template"].update(payload=1), "admin has another `payload`"),
    "limit": (lambda body: body["limits"].update(conn=-1), "limits: conn is -1 instead of"),
    "import": (lambda body: body["imports"].pop(0), "lacks fleet.v1.api.> among its imports"),
    "export": (lambda body: body.update(exports=[{"subject": ">"}]), "adds > among its exports"),
    "revocation": (lambda body: body["revocations"].clear(), "revocations: U1 is not said instead of 5"),
    "unknown": (lambda body: body.update(mappings={"a": []}), "`mappings` differs"),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_each_difference_is_named(change: str) -> None:
    edit, said = CHANGES[change]
    body = orjson.loads(orjson.dumps(dict(claims().body)))
    edit(body)
    found = differences(claims(), token(replace(claims(), body=body)))
    assert len(found) == 1
    assert found[0].startswith(f"OPERATORS: {said}")


def test_nothing_and_no_token_are_differences_too() -> None:
    assert differences(claims(), "") == ("OPERATORS is not there",)
    assert len(differences(claims(), "a.b.c")) == 1
