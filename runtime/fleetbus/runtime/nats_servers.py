"""The servers of a running bus, with the system account's credential."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, Subscription
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid

_ANSWERS_TIMEOUT_S = 3.0
_RELOAD_TIMEOUT_S = 10.0
_SERVER_ID = re.compile(r"^N[A-Z2-7]{55}$")


async def reload(bus: Bus, clock: Clock, count: int) -> tuple[str, ...]:
    """Each of `count` servers reads its configuration and certificates again, and no connection ends; their names.

    Raises SettingsInvalid when one does not take what it has read and keeps the former, BusUnavailable.
    """
    servers = await _servers(bus, clock, count)
    if len(servers) < count:
        there = ", ".join(sorted(servers.values())) or "none"
        raise BusUnavailable(
            f"{len(servers)} of {count} servers answer: {there}", remedy="start the others, and do it again"
        )
    for server, name in servers.items():
        await _reload(bus, server, name)
    return tuple(sorted(servers.values()))


async def _servers(bus: Bus, clock: Clock, count: int) -> dict[str, str]:
    """Those that answer, until as many have as there are; id to name."""
    found: dict[str, str] = {}
    reply = f"{subjects.SYSTEM_INBOX}.{clock.identifier()}"
    async with bus.subscribe(reply) as answers:
        await bus.publish(subjects.SERVERS, b"", reply=reply)
        try:
            async with asyncio.timeout(_ANSWERS_TIMEOUT_S):
                await _gather(answers, found, count)
        except TimeoutError:
            pass
    return found


async def _gather(answers: Subscription, found: dict[str, str], count: int) -> None:
    async for answer in answers:
        said = _answer(answer.data).get("server")
        if isinstance(said, dict) and _SERVER_ID.fullmatch(str(said.get("id"))):
            found[said["id"]] = cleaned(str(said.get("name", "")))
        if len(found) >= count:
            return


async def _reload(bus: Bus, server: str, name: str) -> None:
    message = await bus.request(subjects.server_reload(server), b"", timeout_s=_RELOAD_TIMEOUT_S)
    refused = _answer(message.data).get("error")
    if refused:
        said = refused.get("description") if isinstance(refused, dict) else refused
        raise SettingsInvalid(
            f"the server {name} keeps its former configuration: {cleaned(str(said))}",
            remedy="what it names needs a restart, or the file is wrong: nats-server -t -c server.conf",
        )


def _answer(data: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BusUnavailable("a server's answer is not understood") from error
    return said if isinstance(said, dict) else {}
