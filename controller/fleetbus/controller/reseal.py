"""After a change of the signing key: the controller's memory, signed anew before anything is done under the new key.

Then the former key's word counts nowhere any more, and it can leave charter and settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import structlog

from fleetbus.controller.audit import AuditChain, Author, Entry
from fleetbus.controller.fence import Fence
from fleetbus.controller.seal import Seal
from fleetbus.runtime.failures import first_leaf
from fleetbus.runtime.ports import Bus, CaughtUp, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import Refused
from fleetbus.schemas.streams import DESIRED, DOCUMENTS, STATUS

_TOGETHER = 500
_AT_ONCE = 32
_BY = Author("fleet:controller", "sign-anew")

_log = structlog.get_logger("controller")


async def reseal(bus: Bus, fence: Fence, audit: AuditChain, seal: Seal) -> int:
    """How many messages were signed by a former key. For the beginning of a term, while nobody else writes.

    Raises SequenceConflict (somebody did), BusUnavailable.
    """
    count = 0
    for subject in (subjects.ALL_DOCUMENTS, subjects.ALL_ENROLMENTS):
        puts = _anew(await _last_values(bus, DOCUMENTS.name, subject), seal)
        for some in _parts(puts, _TOGETHER):
            said = f"{len(some)} stored messages, by {seal.own}"
            await audit.write(some, [Entry(_BY, "fleet", message=said)])
        count += len(puts)
    puts = _anew(await _last_values(bus, STATUS.name, subjects.ALL_STATUSES), seal)
    for some in _parts(puts, _AT_ONCE):
        await _put_all(bus, some)
    count += len(puts)
    for subject in (subjects.ALL_HEADS, subjects.ALL_COMMANDS):
        puts = _anew(await _last_values(bus, DESIRED.name, subject), seal)
        await fence.put([(one.subject, one.data) for one in puts])
        count += len(puts)
    if count:
        _log.info("signed anew", messages=count, key=seal.own)
    return count


async def _last_values(bus: Bus, stream: str, subject: str) -> list[Message]:
    found: dict[str, Message] = {}
    async with aclosing(bus.follow(stream, subject)) as items:
        async for item in items:
            if isinstance(item, CaughtUp):
                break
            found[item.subject] = item
    return list(found.values())


def _anew(messages: Sequence[Message], seal: Seal) -> list[Put]:
    """Those that a former key has signed; what nobody of ours has signed is left as it is, and left out as ever."""
    puts: list[Put] = []
    for message in messages:
        try:
            if not seal.is_own(message.subject, message.data):
                content = seal.opened(message.subject, message.data)
                puts.append(
                    Put(message.subject, seal.sign(message.subject, content), expected=message.sequence)
                )
        except Refused as error:
            _log.debug("not signed anew", where=message.subject, reason=error.sentence())
    return puts


async def _put_all(bus: Bus, puts: Sequence[Put]) -> None:
    """At once; when one fails none goes on behind the term's back."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in puts:
                group.create_task(bus.put(one))
    except BaseExceptionGroup as raised:
        raise first_leaf(raised) from raised


def _parts(puts: Sequence[Put], size: int) -> list[Sequence[Put]]:
    return [puts[start : start + size] for start in range(0, len(puts), size)]
