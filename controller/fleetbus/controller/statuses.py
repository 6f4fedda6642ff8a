"""Statuses of documents: one value a document, written by compare-and-set, one writer at a time in here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import structlog

from fleetbus.controller.ports import Key
from fleetbus.controller.seal import Seal
from fleetbus.controller.views import Known
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import BusUnavailable, Refused, SequenceConflict
from fleetbus.schemas.events import Happened, Outbox
from fleetbus.schemas.streams import STATUS

_ATTEMPTS = 4

Amend = Callable[[Status | None], Status | None]
"""The status as it is → as it shall be; None: leave it."""

_log = structlog.get_logger("controller")


class Statuses:
    """Writes statuses and puts them into what is known."""

    def __init__(self, bus: Bus, known: Known, clock: Clock, seal: Seal) -> None:
        self._bus = bus
        self._known = known
        self._clock = clock
        self._seal = seal
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def amend(self, key: Key, amend: Amend) -> Status | None:
        """Write what `amend` makes of the newest status, if that differs; the status after it.

        `amend` is pure and may be called again. Raises SequenceConflict, BusUnavailable.
        """
        subject = subjects.status(key[0].lower(), key[1])
        async with self._locks[key]:
            expected = self._known.sequence(subject)
            for _ in range(_ATTEMPTS):
                before = self._known.status(key)
                after = amend(before)
                if after is None or after == before:
                    return before
                after = after.model_copy(update={"serial": before.serial + 1 if before else 1})
                data = self._seal.sign(subject, after.to_bytes())
                try:
                    sequence = await self._bus.put(Put(subject, data, expected=expected))
                except SequenceConflict:
                    # A replica that lags may know nothing of it: whether it is gone the next write will tell.
                    gone = not await self._read_again(key, subject)
                    expected = 0 if gone else self._known.sequence(subject)
                    continue
                except BusUnavailable:
                    if await self._read_again(key, subject) != data:
                        raise
                    return self._known.status(key)
                if self._known.newer(subject, sequence):
                    self._known.put_status(after)
                return after
        raise SequenceConflict("the status is being written by somebody else", where=subject)

    async def add(self, key: Key, uid: str, *happened: Happened) -> None:
        """Something happened that no condition shows: into the document's outbox, from which events are made."""
        now = self._clock.now()

        def amend(status: Status | None) -> Status:
            before = status or Status(kind=key[0], name=key[1], uid=uid, outbox=Outbox())
            return before.model_copy(update={"outbox": before.outbox.with_(now, *happened)})

        await self.amend(key, amend)

    async def remove(self, key: Key) -> None:
        subject = subjects.status(key[0].lower(), key[1])
        async with self._locks[key]:
            await self._bus.purge(STATUS.name, subject)
            self._known.forget(subject)
            self._known.drop_status(key)
        self._locks.pop(key, None)

    async def _read_again(self, key: Key, subject: str) -> bytes:
        """What stands there now, taken into what is known; empty for nothing."""
        last = await self._bus.get_last(STATUS.name, subject)
        if last is None:
            return b""
        if self._known.newer(subject, last.sequence):
            try:
                self._known.put_status(Status.from_bytes(self._seal.opened(subject, last.data)))
            except Refused as error:
                _log.warning(
                    "a status that is not ours will be written anew", where=subject, reason=str(error)
                )
        return last.data
