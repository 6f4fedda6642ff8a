"""A live subscription that outlives connections: bounded, the oldest dropped, never the newest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.nats_jetstream import stored_at
from fleetbus.runtime.nats_wire import Delivery, subscribe_command, whole_number
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects

_MOST_BYTES = 64 * 1024 * 1024


class LiveSubscription:
    """What `NatsBus.subscribe` gives. `attach` registers it with each new connection."""

    def __init__(self, subject: str, queue: str, capacity: int) -> None:
        subscribe_command(subject, queue, 0)  # A subject that cannot be subscribed to is refused here, once.
        self.subject = subject
        self.dropped = 0
        self._queue = queue
        self._capacity = capacity
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._connection: Connection | None = None
        self._route = 0

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        self._bytes -= len(message.data)
        return message

    def attach(self, connection: Connection) -> None:
        """Subscribe on this connection, unless it is subscribed there already."""
        if self._connection is not connection:
            self._connection = connection
            self._route = connection.open_route(self.subject, self._arrived, queue=self._queue)

    def move(self, connection: Connection) -> Callable[[], None]:
        """Subscribe on this connection as well; what is given unsubscribes from the one before."""
        former, route = self._connection, self._route
        self.attach(connection)

        def leave() -> None:
            if former is not None and former is not connection:
                former.close_route(route)

        return leave

    def end(self) -> None:
        """Unsubscribe; who iterates gets what is there, then the end."""
        self._ended = True
        self._changed.set()
        if self._connection is not None:
            self._connection.close_route(self._route)

    def _arrived(self, delivery: Delivery) -> None:
        self._messages.append(live_message(delivery))
        self._bytes += len(delivery.data)
        while len(self._messages) > self._capacity or self._bytes > _MOST_BYTES:
            self._bytes -= len(self._messages.popleft().data)
            self.dropped += 1
        self._changed.set()


def live_message(delivery: Delivery) -> Message:
    """A message as its subscriber sees it.

    A sequence stands in headers that any publisher can write, so it is taken only from subjects on which the
    server alone publishes: nudges and events.
    """
    sequence, at = 0, None
    headers = delivery.headers
    if "Nats-Stream" in headers and _written_by_server(delivery.subject):
        sequence = whole_number(headers.get("Nats-Sequence", ""))
        at = stored_at(headers.get("Nats-Time-Stamp", ""))
    return Message(delivery.subject, delivery.data, delivery.reply, headers, sequence, at)


def _written_by_server(subject: str) -> bool:
    return subjects.parse_nudge(subject) is not None or subjects.parse_event(subject) is not None
