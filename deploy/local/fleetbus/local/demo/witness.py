"""A subscriber that listens from the first moment on: what it has seen is how the demo's steps are judged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from fleetbus.client import Event, Fleet
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import Transient

_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Expected:
    """An event that a step must have caused exactly once. `cluster` '' is one of the whole fleet."""

    type: str
    subject: str
    cluster: str = ""

    def matches(self, event: Event) -> bool:
        return (event.short_type, event.subject, event.cluster) == (self.type, self.subject, self.cluster)

    def __str__(self) -> str:
        return f"{self.type} of {self.subject}" + (f" in {self.cluster}" if self.cluster else "")


class Witness:
    """All events of a fleet, in order, for the length of a context; it resumes by itself where it was."""

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Fleet]]) -> None:
        self.events: list[Event] = []
        self._connect = connect
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(), name="witness")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    def count(self, expected: Expected, since: datetime, until: datetime | None = None) -> int:
        """How often it was seen with a time in [since, until)."""
        return sum(
            expected.matches(event) and since <= event.time and (until is None or event.time < until)
            for event in self.events
        )

    def seen(self, since: datetime) -> Sequence[str]:
        """Types since a moment, for a message about one that is missing."""
        counts = Counter(event.short_type for event in self.events if event.time >= since)
        return [f"{count} {name}" if count > 1 else name for name, count in sorted(counts.items())]

    def doubled(self) -> Sequence[str]:
        """Ids that were seen more than once."""
        return [one for one, count in Counter(event.id for event in self.events).items() if count > 1]

    def missing(self) -> Sequence[str]:
        """Gaps in the count that each origin keeps of its own transitions."""
        by_origin: dict[str, list[int]] = {}
        for event in self.events:
            by_origin.setdefault(event.origin, []).append(event.transition)
        return [
            f"{origin} lacks {number}"
            for origin, numbers in by_origin.items()
            for number in sorted(set(range(1, max(numbers) + 1)) - set(numbers))
        ]

    async def _listen(self) -> None:
        clock = SystemClock()
        last = 0
        while True:
            with suppress(Transient):
                async with self._connect() as fleet:
                    async for event in fleet.events(since=last, follow=True):
                        self.events.append(event)
                        last = event.sequence
            await clock.sleep(_AGAIN_S)
