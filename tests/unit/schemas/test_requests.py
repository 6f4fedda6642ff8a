"""A request is what its operator signed, to the byte; and a record holds it against what it tells."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.schemas.audit import ORIGIN, AuditRecord, Walk, sealed, step
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.errors import MessageMalformed, Refused, SignatureRefused
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.requests import asked, parts, stated, stated_by
from fleetbus.schemas.signing import signer

ANA, EVE, CONTROLLER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def request(verb: str, body: bytes, key: SigningKey = ANA) -> bytes:
    return asked(verb, body, id="12345678", at=AT, issuer="AROLE", sign=signer(key))


@given(st.binary(max_size=300))
def test_what_is_asked_and_what_is_signed_come_apart_again(body: bytes) -> None:
    statement, found = parts(request("apply", body))
    assert found == body
    assert stated(statement, "apply", public_key(ANA)).body == digest(body)


@given(st.binary(max_size=300))
def test_a_request_without_a_statement_is_its_body(body: bytes) -> None:
    if not body.startswith(b"fleetbus1 "):
        assert parts(body) == (b"", body)


@pytest.mark.parametrize(
    "start", [b"fleetbus1 ", b"fleetbus1 \n", b"fleetbus1 x.y\n\n", b"fleetbus1 x\n{}\n{}"]
)
def test_half_a_statement_is_refused(start: bytes) -> None:
    with pytest.raises(Refused):
        stated(parts(start)[0], "apply", public_key(ANA))


def test_another_verb_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        stated(parts(request("apply", b"{}"))[0], "delete", public_key(ANA))


def test_a_statement_that_was_kept_names_its_verb() -> None:
    kept = parts(request("delete", b"{}"))[0].decode()
    assert stated_by(kept, public_key(ANA)).verb == "delete"
    with pytest.raises(SignatureRefused):
        stated_by(kept, public_key(EVE))
    with pytest.raises(MessageMalformed):
        stated_by("delete", public_key(ANA))


def walked(statement: bytes | None, action: str, actor: str = "ana", outcome: str = "done") -> Walk:
    record = AuditRecord(
        fleet="demo",
        number=1,
        previous=ORIGIN.digest,
        at=AT,
        actor=actor,
        key=public_key(ANA),
        statement=None if statement is None else statement.decode(),
        action=action,
        outcome=outcome,
    )
    subject, envelope, _ = sealed(record, signer(CONTROLLER))
    return step(Walk(), subject, envelope, {public_key(CONTROLLER)})


@pytest.mark.parametrize(
    ("verb", "action"), [("apply", "apply"), ("command", "command-run"), ("command", "command-cancel")]
)
def test_a_record_of_what_was_signed_is_right(verb: str, action: str) -> None:
    walk = walked(parts(request(verb, b"{}"))[0], action)
    assert (walk.wrong, walk.unsigned) == (0, 0)


def test_a_record_of_what_its_actor_did_not_sign_is_found() -> None:
    assert walked(parts(request("apply", b"{}", EVE))[0], "apply").wrong == 1
    assert walked(parts(request("apply", b"{}"))[0], "delete").wrong == 1
    assert walked(b"nothing", "apply").wrong == 1


@pytest.mark.parametrize(
    ("actor", "outcome", "counted"),
    [("ana", "done", 1), ("ana", "ordered", 1), ("ana", "refused", 0), ("cluster/prod-us", "done", 0)],
)
def test_the_controllers_word_alone_is_counted(actor: str, outcome: str, counted: int) -> None:
    walk = walked(None, "apply", actor, outcome)
    assert (walk.wrong, walk.unsigned) == (0, counted)
