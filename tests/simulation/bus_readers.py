"""Who reads a simulated bus: live subscriptions and followers of a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

from fleetbus.runtime.nats_follow import REMOVED
from fleetbus.runtime.ports import CAUGHT_UP, CaughtUp, Message
from tests.simulation.bus_streams import SimulatedStream


def is_removal(message: Message) -> bool:
    """Whether a followed message tells of a purge."""
    return message.headers == REMOVED


def followed(message: Message) -> Message:
    """A stored message as a follower is given it: it cannot say itself that it was removed."""
    kept = {name: value for name, value in message.headers.items() if name not in REMOVED}
    return replace(message, headers=kept)


class LiveReader:
    """A live subscription: the newest `capacity` messages that nobody took yet."""

    def __init__(self, subject: str, queue: str = "", capacity: int = 4096) -> None:
        self.subject = subject
        self.queue = queue
        self._messages: deque[Message] = deque(maxlen=capacity)
        self._changed = asyncio.Event()
        self._ended = False

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    def arrive(self, message: Message) -> None:
        self._messages.append(message)
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()


class StreamReader:
    """A follower: where it stands in its stream, and what it has to give next."""

    def __init__(self, stream: str, subject: str) -> None:
        self.stream = stream
        self.subject = subject
        self.items: deque[Message | CaughtUp] = deque()
        self.last = 0
        self.whole = False
        self.changed = asyncio.Event()

    def arrive(self, item: Message | CaughtUp) -> None:
        self.items.append(item)
        self.changed.set()

    async def next(self) -> Message | CaughtUp:
        while not self.items:
            self.changed.clear()
            await self.changed.wait()
        item = self.items.popleft()
        if isinstance(item, CaughtUp):
            self.whole = True
        elif not is_removal(item):
            self.last = max(self.last, item.sequence)
        return item

    def begin(self, stream: SimulatedStream, now: datetime) -> None:
        """What a new consumer gives at first: last values, or everything after what was given."""
        self.items = deque(item for item in self.items if isinstance(item, Message) and is_removal(item))
        found = (
            stream.matching(self.subject, now) if self.whole else stream.last_per_subject(self.subject, now)
        )
        for message in found:
            if not self.whole or message.sequence > self.last:
                self.arrive(followed(message))
        self.arrive(CAUGHT_UP)
