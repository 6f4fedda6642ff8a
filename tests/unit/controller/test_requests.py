"""A signed request counts once, and now, by whatever clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.controller.requests import AHEAD_S, LATE_S, MOST, Requests
from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.errors import MessageMalformed, SignatureRefused, Stale, Transient
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.requests import MOST_BYTES, Statement, asked, parts
from fleetbus.schemas.signing import signer

ANA, BOB, ROLE = SigningKey(b"a" * 32), SigningKey(b"b" * 32), "A" * 56
BODY = b"{}"
_NUMBERS = count()


@dataclass
class Wall:
    """A clock that is set by hand."""

    at: datetime = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def accept(requests: Requests, request: bytes, verb: str = "apply", key: SigningKey = ANA) -> None:
    statement, body = parts(request)
    requests.accept(verb, statement, body, Claims("user", public_key(key), ROLE, "ana", 1))


def request(wall: Wall, key: SigningKey = ANA, **changes: Any) -> bytes:
    given = {"id": f"request-{next(_NUMBERS)}", "at": wall.now(), "issuer": ROLE}
    return asked("apply", BODY, sign=signer(key), **{**given, **changes})


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def requests(wall: Wall) -> Requests:
    made: Any = wall
    found = Requests(made)
    wall.pass_s(3600)
    return found


def test_a_request_counts_once_as_long_as_it_would_be_in_time(requests: Requests, wall: Wall) -> None:
    ahead = request(wall, at=wall.now() + timedelta(seconds=AHEAD_S))
    accept(requests, ahead)
    for _ in range(13):
        with pytest.raises(Stale):
            accept(requests, ahead)
        wall.pass_s((LATE_S + AHEAD_S) / 12)


def test_a_clock_that_is_set_back_lets_nothing_count_twice(requests: Requests, wall: Wall) -> None:
    first = request(wall)
    accept(requests, first)
    wall.pass_s(LATE_S + AHEAD_S + 1)
    accept(requests, request(wall))
    wall.pass_s(-LATE_S)
    with pytest.raises(Stale):
        accept(requests, first)


@pytest.mark.parametrize("off_s", [-LATE_S - 1, AHEAD_S + 1])
def test_out_of_time_is_refused(requests: Requests, wall: Wall, off_s: float) -> None:
    with pytest.raises(Stale):
        accept(requests, request(wall, at=wall.now() + timedelta(seconds=off_s)))


def test_who_asks_too_much_hinders_nobody_else(requests: Requests, wall: Wall) -> None:
    for _ in range(MOST):
        accept(requests, request(wall))
    with pytest.raises(Transient):
        accept(requests, request(wall))
    accept(requests, request(wall, key=BOB), key=BOB)
    wall.pass_s(LATE_S + AHEAD_S + 1)
    accept(requests, request(wall))


def signed(content: bytes, *keys: SigningKey) -> bytes:
    return signer(*keys)("fleet.v1.api.apply", content) + b"\n" + BODY


def with_more(content: bytes) -> bytes:
    return content[:-1] + b',"zzz":"' + b"x" * 300 + b'"}'


def twice_blank(content: bytes) -> bytes:
    return content.replace(b":", b": ")


@pytest.mark.parametrize("changed", [with_more, twice_blank])
def test_a_statement_says_nothing_else(
    requests: Requests, wall: Wall, changed: Callable[[bytes], bytes]
) -> None:
    """It is kept in the audit for ever."""
    statement = Statement(verb="apply", id="12345678", at=wall.now(), issuer=ROLE, body=digest(BODY))
    content = statement.to_bytes()
    with pytest.raises(MessageMalformed):
        accept(requests, signed(changed(content), ANA))
    with pytest.raises(MessageMalformed):
        accept(requests, signed(content, ANA, BOB))
    accept(requests, signed(content, ANA))


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", b"!!", b"=", b"A", b",", b"." + b"A" * 86])
def test_nothing_stands_beside_a_signature(requests: Requests, wall: Wall, junk: bytes) -> None:
    mark, newline, rest = request(wall).partition(b"\n")
    with pytest.raises(MessageMalformed):
        accept(requests, mark + junk + newline + rest)


def test_a_long_statement_is_refused_before_it_is_read(requests: Requests) -> None:
    with pytest.raises(MessageMalformed, match="too long"):
        accept(requests, signed(canonical({"verb": "x" * MOST_BYTES}), ANA))


def test_no_statement_is_refused(requests: Requests) -> None:
    with pytest.raises(SignatureRefused, match="not signed by who asks"):
        accept(requests, BODY)
