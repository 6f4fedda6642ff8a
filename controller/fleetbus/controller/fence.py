"""The only way into DESIRED: batches in which every message expects the term under which it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleetbus.controller.leader import Term
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SequenceConflict

MOST_IN_BATCH = 1000


class Fence:
    """Writes under one term. SequenceConflict: the term is another controller's now, and nothing was written.

    A write without an answer ends the term as well: it may still arrive, and only a new term keeps it from
    replacing what is written after it.
    """

    def __init__(self, bus: Bus, term: Term) -> None:
        self._bus = bus
        self._lost = asyncio.Event()
        self._why = ""
        self.term = term

    async def put(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """(subject, bytes), each batch of at most MOST_IN_BATCH all or nothing, in order."""
        for start in range(0, len(messages), MOST_IN_BATCH):
            batch = [
                Put(subject, data, expected=self.term.sequence, expected_subject=subjects.TERM)
                for subject, data in messages[start : start + MOST_IN_BATCH]
            ]
            try:
                await self._bus.put_batch(batch)
            except SequenceConflict:
                self._lose("the term is another controller's")
                raise
            except BusUnavailable:
                self._lose("a write under the term is in doubt")
                raise

    def _lose(self, why: str) -> None:
        self._why = why
        self._lost.set()

    async def watch(self) -> None:
        """Raises SequenceConflict once the term is over, for whoever must end all work under it."""
        await self._lost.wait()
        raise SequenceConflict(self._why, where=subjects.TERM)
