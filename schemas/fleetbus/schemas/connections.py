"""Who is connected to the bus, as its servers tell the system account: what is asked, and the answer as values. Pure.

Whose connection it is says the token that the server has verified. What stands beside it as `authorized_user` and
`name` may be whatever the client called itself, and a server that is asked to filter by user filters by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.nats_jwt import read

PAGE = 512
"""Connections in one answer; each takes some 1,200 bytes."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One client on one server: `cid` there, `account` its public key, `nkey` and `name` as its verified token says."""

    server_id: str
    cid: int
    account: str
    nkey: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One server's answer. `total` are those that fit the question, from `offset` on stand here."""

    server: str
    server_id: str
    total: int
    offset: int
    connections: tuple[Connection, ...]

    @property
    def next_offset(self) -> int | None:
        """Where the next page begins; None after the last."""
        end = self.offset + PAGE
        return end if end < self.total else None


def connections_question(account: str, offset: int = 0) -> bytes:
    """Of all users of the account of this public key."""
    return canonical({"acc": account, "auth": True, "limit": PAGE, "offset": offset, "sort": "cid"})


def kick_request(connection: Connection) -> bytes:
    return canonical({"cid": connection.cid})


def parse_page(content: bytes) -> Page:
    """Raises MessageMalformed."""
    told = parse_json(content)
    try:
        server, found = told["server"], told["data"]
        server_id = str(server["id"])
        return Page(
            server=str(server["name"]),
            server_id=server_id,
            total=int(found["total"]),
            offset=int(found["offset"]),
            connections=tuple(_connection(server_id, one) for one in found["connections"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MessageMalformed("not a server's answer about its connections") from error


def _connection(server_id: str, told: Any) -> Connection:
    cid, account = int(told["cid"]), str(told.get("account") or "")
    try:
        claims = read(str(told.get("jwt") or ""))
    except MessageMalformed:
        return Connection(server_id, cid, account)
    return Connection(server_id, cid, account, claims.subject, claims.name)
