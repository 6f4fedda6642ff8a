"""What servers answer about their connections, as values; whose they are says the verified token alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleetbus.schemas.connections import PAGE, Connection, connections_question, parse_page
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
    assert page.connections == (Connection("NA", 7, "AX", A, "prod-us"),)


def test_who_has_no_token_is_there_all_the_same() -> None:
    assert parse_page(answer({"cid": 7, "jwt": "x"}, {"cid": 8})).connections == (
        Connection("NA", 7, ""),
        Connection("NA", 8, ""),
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
