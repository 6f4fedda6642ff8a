"""The only way into DESIRED: batches in which every message expects the term under which it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleetbus.controller.leader import Term
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import SequenceConflict

MOST_IN_BATCH = 1000


class Fence:
    """Writes under one term. SequenceConflict: the term is another controller's now, and nothing was written."""

    def __init__(self, bus: Bus, term: Term) -> None:
        self._bus = bus
        self._lost = asyncio.Event()
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
                self._lost.set()
                raise

    async def watch(self) -> None:
        """Raises SequenceConflict once a write was refused, for whoever must end all work under this term."""
        await self._lost.wait()
        raise SequenceConflict("the term is another controller's", where=subjects.TERM)
