"""A charter counts by its root's signature, for its fleet, and never after a newer one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.schemas import subjects
from fleetbus.schemas.charter import Charter, newest, opened, written
from fleetbus.schemas.errors import MessageMalformed, MessageTooNew, SignatureRefused, Stale, WrongAddressee
from fleetbus.schemas.nkeys import Kind, public_key
from fleetbus.schemas.signing import covered, wrapped

ROOT = SigningKey(b"r" * 32)
KEY = public_key(SigningKey(b"k" * 32))
OLD = public_key(SigningKey(b"o" * 32))
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def charter(**changes: Any) -> dict[str, Any]:
    given = {
        "fleet": "demo",
        "epoch": 2,
        "version": 7,
        "issuedAt": datetime(2026, 11, 24, tzinfo=UTC).isoformat(),
        "publish": [KEY],
        "former": [OLD],
        "authorities": PEM,
    }
    return {**given, **changes}


def sealed(
    *, by: SigningKey = ROOT, kind: Kind = Kind.OPERATOR, at: str = subjects.CHARTER, **changes: Any
) -> bytes:
    content = Charter.model_validate(charter(**changes)).to_bytes()
    return wrapped(content, {public_key(by, kind): by.sign(covered(at, content)).signature})


def root() -> str:
    return public_key(ROOT, Kind.OPERATOR)


def test_what_the_root_has_signed_is_read() -> None:
    found = opened(sealed(), root(), "demo").charter
    assert (found.order, str(found)) == ((2, 7), "2.7")


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (sealed(by=SigningKey(b"x" * 32)), SignatureRefused),
        (sealed(kind=Kind.USER), SignatureRefused),
        (sealed(at=subjects.TERM), SignatureRefused),
        (sealed()[:-2] + b" }", SignatureRefused),
        (sealed().partition(b"\n")[2], MessageMalformed),
        (b"", MessageMalformed),
        (sealed(fleet="other"), WrongAddressee),
        (sealed(contract=2), MessageTooNew),
    ],
    ids=[
        "another root",
        "a user's key",
        "another subject",
        "changed",
        "unsigned",
        "empty",
        "fleet",
        "contract",
    ],
)
def test_anything_else_is_refused(envelope: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        opened(envelope, root(), "demo")


@pytest.mark.parametrize(
    "changes",
    [
        {"publish": []},
        {"publish": ["UABC"]},
        {"publish": [root()]},
        {"former": ["x"]},
        {"authorities": "none"},
        {"authorities": PEM + "-----BEGIN PRIVATE KEY-----"},
        {"epoch": -1},
        {"version": 2**60},
    ],
)
def test_what_no_charter_may_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageMalformed):
        Charter.from_json(charter(**changes))


def test_a_higher_epoch_is_newer_whatever_the_versions() -> None:
    old, new = (opened(sealed(epoch=e, version=v), root(), "demo") for e, v in ((2, 99), (3, 1)))
    assert newest(new, None, old) is new
    assert newest(None) is None
    assert written((3, 1)) == "3.1"


def test_only_the_epoch_that_the_root_has_named_counts() -> None:
    found = Charter.from_json(charter())
    found.expect_epoch(2, "head")
    with pytest.raises(Stale, match="epoch 2 since"):
        found.expect_epoch(1, "head")
    with pytest.raises(SignatureRefused, match="not named"):
        found.expect_epoch(3, "head")
