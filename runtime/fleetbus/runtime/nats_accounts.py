"""Accounts of a running bus, with the system account's credential."""

from __future__ import annotations

import orjson

from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from fleetbus.schemas.nats_jwt import read

_TIMEOUT_S = 5.0


async def get_account(bus: Bus, key: str) -> str:
    """The token that the servers have for the account of this public key; '' for none. Raises BusUnavailable."""
    message = await bus.request(subjects.claims_lookup(key), b"", timeout_s=_TIMEOUT_S)
    return message.data.decode("utf-8", "replace").strip()


async def put_account(bus: Bus, token: str) -> None:
    """Every server keeps this account's token from now on, and acts on it at once.

    Raises SettingsInvalid when the servers do not take it, BusUnavailable.
    """
    name = read(token).name
    message = await bus.request(subjects.CLAIMS_UPDATE, token.encode(), timeout_s=_TIMEOUT_S)
    try:
        answer = orjson.loads(message.data)
        refused = answer.get("error")
        done = answer["data"]["code"] == 200 if refused is None else False
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise BusUnavailable("the server's answer is not understood", where=subjects.CLAIMS_UPDATE) from error
    if not done:
        said = refused.get("description") if isinstance(refused, dict) else "no reason given"
        raise SettingsInvalid(f"the bus does not take the token of account {name}: {said}")
