"""Accounts of a running bus, with the system account's credential."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import orjson

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from fleetbus.schemas.nats_jwt import read

_TIMEOUT_S = 5.0


async def get_account(bus: Bus, key: str) -> str:
    """The token that the servers have for the account of this public key; '' for none. Raises BusUnavailable."""
    message = await bus.request(subjects.claims_lookup(key), b"", timeout_s=_TIMEOUT_S)
    return message.data.decode("utf-8", "replace").strip()


async def put_account(bus: Bus, token: str) -> None:
    """Every server keeps this account's token from now on, and acts on it at once; one of them has said so.

    Raises SettingsInvalid when the servers do not take it, BusUnavailable.
    """
    message = await bus.request(subjects.CLAIMS_UPDATE, token.encode(), timeout_s=_TIMEOUT_S)
    _check(message, read(token).name)


async def put_account_everywhere(
    bus: Bus, clock: Clock, token: str, servers: Collection[str], *, timeout_s: float = 2.0
) -> frozenset[str]:
    """The same; of these servers, by name, those that have not said so in time.

    Raises SettingsInvalid when one does not take it, BusUnavailable.
    """
    name, waited = read(token).name, set(servers)
    inbox = f"{subjects.SYSTEM_INBOX}.{clock.identifier()}"
    async with bus.subscribe(inbox) as answers:
        await bus.publish(subjects.CLAIMS_UPDATE, token.encode(), reply=inbox)
        try:
            async with asyncio.timeout(timeout_s):
                while waited:
                    waited.discard(_check(await anext(answers), name))
        except TimeoutError:
            pass  # Who is left is told.
    return frozenset(waited)


def _check(message: Message, account: str) -> str:
    """The name of the server that has taken the token. Raises SettingsInvalid, BusUnavailable."""
    try:
        answer = orjson.loads(message.data)
        server, refused = str(answer["server"]["name"]), answer.get("error")
        done = answer["data"]["code"] == 200 if refused is None else False
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise BusUnavailable("the server's answer is not understood", where=subjects.CLAIMS_UPDATE) from error
    if not done:
        said = refused.get("description") if isinstance(refused, dict) else "no reason given"
        raise SettingsInvalid(f"the bus does not take the token of account {account}: {said}")
    return server
