"""Who is connected to the bus, as its servers tell it: what is asked, answers and advisories as values. Pure.

Whose connection it is says the token that the server has verified. What stands beside it as `authorized_user` and
`name` may be whatever the client called itself, and a server that is asked to filter by user filters by that.
Nothing of it is signed: whoever owns the bus can forge it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.nats_jwt import read

PAGE = 256
"""Connections in one answer; each takes some 1,200 bytes."""


Place = tuple[str, int]
"""Tells a connection from every other: the server's id, which is new with each start, and its number there."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One client on one server: `cid` there, `account` its public key, `nkey` and `name` as its verified token says.

    `server` is the server's name, `since` when it connected.
    """

    server_id: str
    cid: int
    account: str
    nkey: str = ""
    name: str = ""
    server: str = ""
    since: datetime | None = None

    @property
    def place(self) -> Place:
        return self.server_id, self.cid


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a connection, with the server's words for why."""

    connection: Connection
    reason: str


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


def servers_told_whole(pages: Sequence[Page]) -> frozenset[str]:
    """The identifiers of servers of which no page is missing."""
    totals: dict[str, int] = {}
    told: dict[str, set[int]] = {}
    for page in pages:
        totals[page.server_id] = max(page.total, totals.get(page.server_id, 0))
        told.setdefault(page.server_id, set()).add(page.offset)
    return frozenset(one for one, offsets in told.items() if offsets >= set(range(0, totals[one], PAGE)))


_NONE: Mapping[Place, Connection] = {}


def connections_question(account: str = "", offset: int = 0) -> bytes:
    """Of all users of the account of this public key, where the subject does not name it."""
    question = {"auth": True, "limit": PAGE, "offset": offset, "sort": "cid"}
    return canonical(question | ({"acc": account} if account else {}))


def kick_request(connection: Connection) -> bytes:
    return canonical({"cid": connection.cid})


def parse_page(content: bytes, known: Mapping[Place, Connection] = _NONE) -> Page:
    """Raises MessageMalformed.

    `known`: whose tokens need not be read again, which is nearly all that a page costs.
    """
    told = parse_json(content)
    try:
        server, found = told["server"], told["data"]
        server_id = str(server["id"])
        return Page(
            server=str(server["name"]),
            server_id=server_id,
            total=int(found["total"]),
            offset=int(found["offset"]),
            connections=tuple(
                known.get((server_id, int(one["cid"]))) or _connection(server, int(one["cid"]), one)
                for one in found["connections"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MessageMalformed("not a server's answer about its connections") from error


def parse_connect(content: bytes) -> Connection:
    """From the advisory that somebody has connected. Raises MessageMalformed."""
    return _told(content)[0]


def parse_disconnect(content: bytes) -> Ended:
    """From the advisory that a connection has ended. Raises MessageMalformed."""
    connection, told = _told(content)
    return Ended(connection, str(told.get("reason") or ""))


def _told(content: bytes) -> tuple[Connection, Mapping[str, Any]]:
    told = parse_json(content)
    try:
        client = told["client"]
        return _connection(told["server"], int(client["id"]), client | {"account": client["acc"]}), told
    except (KeyError, TypeError, ValueError) as error:
        raise MessageMalformed("not a server's word of a connection") from error


def _connection(server: Mapping[str, Any], cid: int, told: Mapping[str, Any]) -> Connection:
    nkey, name = "", ""
    try:
        claims = read(str(told.get("jwt") or ""))
        nkey, name = claims.subject, claims.name
    except MessageMalformed:
        pass  # Not logged in yet: it is there all the same.
    since = datetime.fromisoformat(str(told["start"])) if told.get("start") else None
    if since is not None and since.tzinfo is None:
        raise MessageMalformed("a time without a zone")
    account = str(told.get("account") or "")
    return Connection(str(server["id"]), cid, account, nkey, name, str(server["name"]), since)
