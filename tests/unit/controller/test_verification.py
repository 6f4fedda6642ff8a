"""What a cluster's message must be before anybody looks into it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fleetbus.controller.verification import Accepted, Expected, verified_state
from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.errors import (
    FleetbusError,
    MessageMalformed,
    MessageTooNew,
    SignatureRefused,
    Stale,
    WrongAddressee,
)
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer
from fleetbus.schemas.states import Facts, State
from fleetbus.schemas.subjects import ClusterId

C1 = ClusterId("main", "c1")
KEY = SigningKey(b"\x01" * 32)
SUBJECT = subjects.state(C1, "facts")
EXPECTED = Expected("test", C1, public_key(KEY), "uid-1")


def state(**changes: Any) -> State:
    good = State(
        fleet="test",
        cluster="c1",
        uid="uid-1",
        aspect="facts",
        serial=5,
        at=datetime(2026, 11, 24, tzinfo=UTC),
        body={"kubernetesVersion": "v1.36.3"},
    )
    return good.model_copy(update=changes)


def signed(content: bytes, key: SigningKey = KEY, subject: str = SUBJECT) -> bytes:
    return signer(key)(subject, content)


def test_a_right_state_is_taken_with_its_body() -> None:
    taken, body = verified_state(SUBJECT, signed(state().to_bytes()), "facts", EXPECTED, None)
    assert taken == state()
    assert isinstance(body, Facts)
    assert body.kubernetes_version == "v1.36.3"


def test_the_same_state_again_is_right() -> None:
    assert (
        verified_state(SUBJECT, signed(state().to_bytes()), "facts", EXPECTED, Accepted("uid-1", 5))[0]
        == state()
    )


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"fleet": "other"}, WrongAddressee),
        ({"cluster": "c2"}, WrongAddressee),
        ({"aspect": "session"}, WrongAddressee),
        ({"uid": "uid-2"}, WrongAddressee),
        ({"serial": 3}, Stale),
        ({"contract": 2}, MessageTooNew),
        ({"body": {}}, MessageMalformed),
    ],
)
def test_a_wrong_state_is_refused(changes: dict[str, Any], refusal: type[FleetbusError]) -> None:
    with pytest.raises(refusal):
        verified_state(SUBJECT, signed(state(**changes).to_bytes()), "facts", EXPECTED, Accepted("uid-1", 4))


NO_MOMENTS = [
    "2026-11-24T09:00:00",
    "2026-11-24",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "1e300",
    -(2**60),
]


@pytest.mark.parametrize("at", NO_MOMENTS)
@pytest.mark.parametrize("place", ["at", "outbox", "result"])
def test_a_time_without_its_zone_or_beyond_reason_is_refused(at: Any, place: str) -> None:
    aspect = "result" if place == "result" else "facts"
    content = state(aspect=aspect).as_json()
    if place == "at":
        content["at"] = at
    elif place == "outbox":
        told = {"sequence": 1, "at": at, "type": "a.b", "subject": "a/b", "reason": "R"}
        content["outbox"] = {"sequence": 1, "pending": [told]}
    else:
        done = {"id": "a", "driver": "job", "phase": "Succeeded", "finishedAt": at}
        content["body"] = {"commands": [done]}
    with pytest.raises(MessageMalformed):
        verified_state(SUBJECT, signed(canonical(content)), aspect, EXPECTED, None)


def test_nothing_is_parsed_before_it_is_verified() -> None:
    for data in (
        signed(b"not json", SigningKey(b"\x02" * 32)),
        signed(b"not json", subject=subjects.state(C1, "session")),
        signed(b"not json")[:-1] + b"!",
    ):
        with pytest.raises(SignatureRefused):
            verified_state(SUBJECT, data, "facts", EXPECTED, None)


def test_a_cluster_made_anew_may_count_from_the_start() -> None:
    anyone = Expected("test", C1, public_key(KEY), "")
    new = state(uid="uid-2", serial=1)
    assert verified_state(SUBJECT, signed(new.to_bytes()), "facts", anyone, Accepted("uid-1", 5))[0] == new


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_anything_but_our_errors(content: bytes, is_signed: bool) -> None:
    with pytest.raises(FleetbusError):
        verified_state(SUBJECT, signed(content) if is_signed else content, "facts", EXPECTED, None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_no_signed_json_raises_anything_but_our_errors(value: Any) -> None:
    with pytest.raises(FleetbusError):
        verified_state(SUBJECT, signed(canonical(value)), "facts", EXPECTED, None)
