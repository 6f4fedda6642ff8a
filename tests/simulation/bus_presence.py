"""What a simulated server tells of the connections of a realm's account, in the real one's words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson

from fleetbus.runtime.ports import Message
from fleetbus.schemas import presence_subjects

SERVER = {"id": "NSIMULATED", "name": "simulated"}
_AGENTS = "AGENTS_"


def realm_of(account: str) -> str:
    """'' for an account that is no realm's."""
    return account.removeprefix(_AGENTS) if account.startswith(_AGENTS) else ""


def advisory(
    word: str, number: int, identity: dict[str, str], start: datetime, reason: str = ""
) -> Message | None:
    """That somebody has come or left; None when nobody asks about that account."""
    realm = realm_of(identity["acc"])
    if not realm:
        return None
    client = {"id": number, "start": start.isoformat(), **identity}
    body = {"server": SERVER, "client": client} | ({"reason": reason} if reason else {})
    return Message(presence_subjects.presence(realm, word), orjson.dumps(body))


def listing(
    connections: Iterable[tuple[int, dict[str, str], datetime]], realm: str, question: bytes
) -> bytes:
    """The answer to a question about a realm's connections."""
    asked: dict[str, Any] = orjson.loads(question)
    mine = [
        {"cid": number, "start": start.isoformat(), "jwt": identity["jwt"]}
        for number, identity, start in connections
        if realm_of(identity["acc"]) == realm
    ]
    rows = mine[asked["offset"] : asked["offset"] + asked["limit"]]
    return orjson.dumps(
        {"server": SERVER, "data": {"total": len(mine), "offset": asked["offset"], "connections": rows}}
    )
