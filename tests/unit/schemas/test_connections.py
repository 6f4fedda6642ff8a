"""What servers answer about their connections, as values; whose they are says the verified token alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleetbus.schemas.connections import (
    PAGE,
    Connection,
    connections_question,
    parse_connect,
    parse_disconnect,
    parse_page,
)
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.nkeys import Kind, nkey_of
from tests.tokens import user_token

A = nkey_of(b"a" * 32, Kind.USER)


def answer(*connections: dict[str, Any], total: int = 1, offset: int = 0) -> bytes:
    data = {"total": total, "offset": offset, "limit": PAGE, "connections": list(connections)}
    return orjson.dumps({"server": {"name": "demo-a", "id": "NA"}, "data": data})


def test_who_is_connected_says_the_verified_token_and_not_the_client() -> None:
    claimed = {"authorized_user": "somebody", "name": "prod-eu", "name_tag": "prod-eu"}
    told = {"cid": 7, "account": "AX", "jwt": user_token(A, "prod-us"), **claimed}
    page = parse_page(answer(told))
    assert (page.server, page.server_id, page.next_offset) == ("demo-a", "NA", None)
    assert page.connections == (Connection("NA", 7, "AX", A, "prod-us", "demo-a"),)


def test_who_has_no_token_is_there_all_the_same() -> None:
    assert parse_page(answer({"cid": 7, "jwt": "x"}, {"cid": 8})).connections == (
        Connection("NA", 7, "", server="demo-a"),
        Connection("NA", 8, "", server="demo-a"),
    )


def test_a_long_answer_goes_on_where_it_ended() -> None:
    assert parse_page(answer(total=PAGE + 1)).next_offset == PAGE
    assert parse_page(answer(total=PAGE + 1, offset=PAGE)).next_offset is None
    assert orjson.loads(connections_question("AX", PAGE))["offset"] == PAGE


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"server": {"name": "a"}}', answer({"name": "without a number"})]
)
def test_anything_else_is_no_answer(content: bytes) -> None:
    with pytest.raises(MessageMalformed):
        parse_page(content)


SERVER = {"name": "demo-a", "id": "NA", "ver": "2.15.1"}
CLIENT = {
    "start": "2026-11-30T20:28:58.392814224Z",
    "id": 7,
    "acc": "AX",
    "user": "somebody else",
    "name": "prod-eu",
    "jwt": user_token(A, "prod-us"),
}


def test_an_advisory_and_a_page_tell_the_same_connection() -> None:
    made = parse_connect(orjson.dumps({"server": SERVER, "client": CLIENT}))
    assert (made.place, made.account, made.nkey, made.name) == (("NA", 7), "AX", A, "prod-us")
    assert made.since is not None
    assert made.since.isoformat() == "2026-11-30T20:28:58.392814+00:00"
    row = {"cid": 7, "account": "AX", "jwt": CLIENT["jwt"], "start": CLIENT["start"]}
    assert parse_page(answer(row)).connections == (made,)
    ended = parse_disconnect(orjson.dumps({"server": SERVER, "client": CLIENT, "reason": "Stale Connection"}))
    assert (ended.connection, ended.reason) == (made, "Stale Connection")


def test_a_connection_that_is_known_is_not_read_again() -> None:
    known = Connection("NA", 7, "AX", A, "prod-us", "demo-a")
    assert parse_page(answer({"cid": 7, "jwt": "x"}), {known.place: known}).connections == (known,)


@pytest.mark.parametrize(
    "change",
    [
        {"server": None},
        {"server": {"id": "NA"}},
        {"client": None},
        {"client": {**CLIENT, "id": "x"}},
        {"client": {**CLIENT, "acc": None, "id": None}},
        {"client": {**CLIENT, "start": "yesterday"}},
        {"client": {**CLIENT, "start": "2026-11-30T20:28:58"}},
    ],
)
def test_anything_else_is_no_advisory(change: dict[str, Any]) -> None:
    with pytest.raises(MessageMalformed):
        parse_connect(orjson.dumps({"server": SERVER, "client": CLIENT} | change))
