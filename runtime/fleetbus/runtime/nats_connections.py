"""Who is connected to which server of the bus, and closing a connection.

With the system account's credential, but for `list_connections`: that asks about one realm, where another account
imports the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Subscription
from fleetbus.schemas import subjects
from fleetbus.schemas.connections import (
    PAGE,
    Connection,
    Page,
    Place,
    connections_question,
    kick_request,
    parse_page,
)
from fleetbus.schemas.errors import MessageMalformed

_FIRST_S = 3.0
"""For so long the first server may take to answer, where it is not known which there are."""
_OTHERS_S = 0.5
"""After an answer for so long the next."""
_MOST_PAGES = 1024


@dataclass(frozen=True, slots=True)
class Connected:
    """The connections of one account's users. `silent`: servers that were expected and did not answer in time."""

    connections: tuple[Connection, ...]
    servers: frozenset[str]
    silent: frozenset[str]


async def read_connections(
    bus: Bus, clock: Clock, account: str, servers: Collection[str], *, timeout_s: float = 2.0
) -> Connected:
    """Of the account of this public key, on every server; `servers` by name are waited for. Raises BusUnavailable."""
    pages: list[Page] = []
    inbox = f"{subjects.SYSTEM_INBOX}.{clock.identifier()}"
    async with bus.subscribe(inbox) as answers:
        await bus.publish(subjects.ALL_CONNECTIONS, connections_question(account), reply=inbox)
        try:
            async with asyncio.timeout(timeout_s):
                await _gather(bus, answers, inbox, account, frozenset(servers), pages)
        except TimeoutError:
            pass  # Who has not answered is told as silent.
    whole = frozenset(one.server for one in pages if one.next_offset is None)
    found = {(one.server_id, one.cid): one for page in pages for one in page.connections}
    return Connected(tuple(found.values()), whole, frozenset(servers) - whole)


async def _gather(
    bus: Bus,
    answers: Subscription,
    inbox: str,
    account: str,
    servers: frozenset[str],
    pages: list[Page],
) -> None:
    """Until each server has given its last page."""
    waited = set(servers)
    async for message in answers:
        try:
            page = parse_page(message.data)
        except MessageMalformed:
            continue
        pages.append(page)
        if page.next_offset is not None:
            question = connections_question(account, page.next_offset)
            await bus.publish(subjects.connections(page.server_id), question, reply=inbox)
            continue
        waited.discard(page.server)
        if not waited:
            return


async def list_connections(
    bus: Bus, clock: Clock, subject: str, inbox: str, known: Mapping[Place, Connection]
) -> list[Page]:
    """All pages that came (`known`: as in `parse_page`); none when nobody answers. Raises BusUnavailable.

    Which servers there are is not known, so it is no snapshot: who comes or leaves meanwhile may be missing, and of a
    server that is slow a page, or all of them.
    """
    found: list[Page] = []
    for number in range(_MOST_PAGES):
        reply = f"{inbox}.{clock.identifier()}"
        question = connections_question(offset=number * PAGE)
        pages = [page async for page in _answers(bus, subject, question, reply, known)]
        found += pages
        # By all that came: the one with most may have missed this page.
        most = max((one.total for one in found), default=0)
        if not pages or most <= (number + 1) * PAGE:
            break
    return found


async def _answers(
    bus: Bus, subject: str, question: bytes, reply: str, known: Mapping[Place, Connection]
) -> AsyncGenerator[Page, None]:
    """A page a server, until no other comes."""
    wait_s = _FIRST_S
    async with bus.subscribe(reply) as answers:
        await bus.publish(subject, question, reply=reply)
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    answer = await anext(answers)
            except (TimeoutError, StopAsyncIteration):
                return
            if not answer.data:
                return  # The server's word that nobody listens there.
            with suppress(MessageMalformed):
                yield parse_page(answer.data, known)
            wait_s = _OTHERS_S


async def close_connection(bus: Bus, connection: Connection, *, timeout_s: float = 2.0) -> None:
    """The server closes it at once; one that is gone already stays so. Raises BusUnavailable."""
    await bus.request(subjects.kick(connection.server_id), kick_request(connection), timeout_s=timeout_s)
