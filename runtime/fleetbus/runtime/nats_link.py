"""Requests and replies over one connection: one inbox, one subscription, however many questions are open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.nats_wire import Delivery
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotPermitted

_NO_RESPONDERS = "503"


class Answers:
    """The replies to one question, in the order in which they came."""

    def __init__(self, subject: str, reply: str) -> None:
        self.subject = subject
        self.reply = reply
        self._arrived: asyncio.Queue[Delivery | FleetbusError] = asyncio.Queue()

    async def next(self, timeout_s: float) -> Delivery:
        """Raises BusUnavailable: nobody there, nothing within `timeout_s`, connection gone; NotPermitted."""
        try:
            async with asyncio.timeout(timeout_s):
                arrived = await self._arrived.get()
        except TimeoutError as cause:
            raise BusUnavailable(f"no answer within {timeout_s:g} s", where=self.subject) from cause
        if isinstance(arrived, FleetbusError):
            raise arrived
        if arrived.status == _NO_RESPONDERS and not arrived.data:
            raise BusUnavailable("nobody answers there", where=self.subject)
        return arrived

    def arrive(self, arrived: Delivery | FleetbusError) -> None:
        self._arrived.put_nowait(arrived)


class Link:
    """A connection with its inbox. Made when the connection is open."""

    def __init__(
        self, connection: Connection, inbox: str, on_refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.connection = connection
        self._on_refused = on_refused
        self._inbox = inbox
        self._count = 0
        self._open: dict[str, Answers] = {}
        self._moved = asyncio.Event()
        self._watching_end: list[Callable[[], None]] = []
        connection.open_route(f"{inbox}.*", self._arrived)
        connection.on_refused_publish = self._refused
        connection.on_ended = self._ended

    @property
    def alive(self) -> bool:
        return not self.connection.ended.is_set()

    async def settled(self) -> None:
        """Until every question that is open now has its answer, or nobody waits for it."""
        for token in list(self._open):
            while token in self._open and self.alive:
                self._moved.clear()
                await self._moved.wait()

    def new_inbox(self) -> str:
        """A subject below the inbox's own prefix that only the caller's route will listen to."""
        self._count += 1
        return f"{self._inbox}.route.{self._count}"

    def watch_end(self, call: Callable[[], None]) -> None:
        """Have `call` called when the connection ends, or now when it has ended."""
        self._watching_end.append(call)
        if not self.alive:
            call()

    def unwatch_end(self, call: Callable[[], None]) -> None:
        self._watching_end.remove(call)

    @contextmanager
    def question(self, subject: str) -> Iterator[Answers]:
        """Room for the answers to what will be published with `answers.reply`."""
        self._count += 1
        token = str(self._count)
        answers = Answers(subject, f"{self._inbox}.{token}")
        if not self.alive:
            raise BusUnavailable(f"the connection ended: {self.connection.reason}", where=subject)
        self._open[token] = answers
        try:
            yield answers
        finally:
            self._open.pop(token, None)
            self._moved.set()

    async def request(
        self, subject: str, data: bytes, *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Delivery:
        """The first answer. Raises BusUnavailable, NotPermitted, MessageMalformed."""
        with self.question(subject) as answers:
            await self.connection.send(subject, data, reply=answers.reply, headers=headers)
            return await answers.next(timeout_s)

    def _arrived(self, delivery: Delivery) -> None:
        answers = self._open.get(delivery.subject.rpartition(".")[2])
        if answers is not None:
            answers.arrive(delivery)

    def _refused(self, subject: str) -> None:
        self._on_refused(subject)
        for answers in self._open.values():
            if answers.subject == subject:
                answers.arrive(NotPermitted("this credential may not publish there", where=subject))

    def _ended(self) -> None:
        for call in self._watching_end:
            call()
        for answers in self._open.values():
            answers.arrive(BusUnavailable(f"the connection ended: {self.connection.reason}"))
        self._moved.set()
