"""One controller at a time: a lease that runs out, and a term that fences every write of whoever held it before.

The lease says who should act; the term makes it safe. Who takes the lease raises the term by compare-and-set,
and every write to DESIRED expects the term's sequence, so a leader that slept writes nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import leaves
from fleetbus.runtime.loop import apart
from fleetbus.runtime.ports import Bus, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import (
    BusUnavailable,
    MessageMalformed,
    SequenceConflict,
    SettingsInvalid,
    Transient,
)
from fleetbus.schemas.models import Received
from fleetbus.schemas.streams import DESIRED

LEASE_S = 10
RENEW_S = 3.0
POLL_S = 1.0
ELSEWHERE_AFTER = 3
"""Attempts without an answer on a connection that stands."""

TAKE_NEWEST = (
    "take the fleet's newest folder; if this one was restored from a backup: fleetbus keys raise-epoch"
)

_log = structlog.get_logger("controller")


class TermRecord(Received):
    """Value of the subject `desired._term`."""

    term: int
    holder: str
    epoch: int


class LeaseRecord(Received):
    """Value of the subject `desired._lease`. `claim` tells two lives of one holder apart."""

    holder: str
    claim: str
    released: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """What the holder of the lease acts under. `sequence` is the fence; `began_at` the server's time."""

    number: int
    sequence: int
    epoch: int
    began_at: datetime | None


class Leader:
    """Waits for the lease, works under it, gives it back. `gone(holder)`: that holder is surely no more.

    `named`: the root has signed this epoch, so that a higher one on the bus is nobody's whom clusters obey.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        *,
        holder: str,
        epoch: int,
        named: bool = False,
        gone: Callable[[str], bool] | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._holder = holder
        self._epoch = epoch
        self._named = named
        self._gone = gone or (lambda holder: False)
        self._claim = ""
        self._sequence = 0
        self._until_s = float("-inf")
        self._standing: tuple[int, float] | None = None
        """The lease of somebody else that was seen last, and since when."""

    def holds(self) -> bool:
        """Whether the lease is surely still ours, by our own steady clock."""
        return self._clock.monotonic_s() < self._until_s

    async def lead(self, work: Callable[[Term], Awaitable[None]]) -> None:
        """Work under every term that can be had, until cancelled. Work ends by cancellation when it is lost."""
        while True:
            term = await self._wait_term()
            _log.info("leading", term=term.number, holder=self._holder)
            try:
                await apart(self._work_while_held(work, term))
            except* Transient as errors:
                _log.warning(
                    "no longer leading",
                    term=term.number,
                    reason="; ".join(sorted({str(error) for error in leaves(errors)})),
                )
            finally:
                await self._release()
            await self._clock.sleep(self._clock.jitter(POLL_S / 4))

    async def _work_while_held(self, work: Callable[[Term], Awaitable[None]], term: Term) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            tasks.create_task(_under(work, term))

    async def _wait_term(self) -> Term:
        waiting, unanswered = False, 0
        while True:
            try:
                if await self._take_lease():
                    return await self._take_term()
                unanswered = 0
                if not waiting:
                    waiting = True
                    _log.info("standing by", holder=self._holder)
            except (SequenceConflict, BusUnavailable) as error:
                _log.debug("no term yet", reason=error.sentence())
                unanswered += isinstance(error, BusUnavailable) and self._bus.connected
                if unanswered >= ELSEWHERE_AFTER:
                    # A server that is cut off from the others keeps its clients, and answers no write.
                    unanswered = 0
                    _log.warning("connecting elsewhere", reason=error.sentence())
                    await self._bus.reconnect()
            await self._clock.sleep(self._clock.jitter(POLL_S))

    async def _take_lease(self) -> bool:
        last = await self._bus.get_last(DESIRED.name, subjects.LEASE)
        expected = 0
        if last is not None:
            lease = _lease_in(last)
            ours = lease.claim == self._claim
            if not (lease.released or ours or self._gone(lease.holder) or self._stands_still(last.sequence)):
                return False
            expected = last.sequence
        self._claim = self._clock.identifier()
        began_s = self._clock.monotonic_s()
        self._sequence = await self._bus.put(self._lease(expected))
        self._until_s = began_s + LEASE_S
        return True

    def _stands_still(self, sequence: int) -> bool:
        """Whether a lease has not been renewed for so long that it would have run out: somebody else put it there."""
        now_s = self._clock.monotonic_s()
        if self._standing is None or self._standing[0] != sequence:
            self._standing = (sequence, now_s)
        return now_s - self._standing[1] > 2 * LEASE_S

    def _lease(self, expected: int, *, released: bool = False) -> Put:
        record = LeaseRecord(holder=self._holder, claim=self._claim, released=released)
        ttl_s = 1 if released else LEASE_S
        return Put(subjects.LEASE, record.to_bytes(), expected=expected, ttl_s=ttl_s)

    async def _take_term(self) -> Term:
        last = await self._bus.get_last(DESIRED.name, subjects.TERM)
        before = _term_in(last)
        if before.epoch > self._epoch and not self._named:
            raise SettingsInvalid(
                f"this controller has epoch {self._epoch}, but epoch {before.epoch} has been in use",
                remedy=TAKE_NEWEST,
            )
        record = TermRecord(term=before.term + 1, holder=self._holder, epoch=self._epoch)
        sequence = await self._bus.put(
            Put(subjects.TERM, record.to_bytes(), expected=last.sequence if last else 0)
        )
        stored = await self._bus.get_last(DESIRED.name, subjects.TERM)
        began_at = stored.stored_at if stored else None
        return Term(record.term, sequence, self._epoch, began_at)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(self._clock.jitter(RENEW_S, 0.1))
            began_s = self._clock.monotonic_s()
            try:
                self._sequence = await self._bus.put(self._lease(self._sequence))
                self._until_s = began_s + LEASE_S
            except SequenceConflict:
                await self._adopt()
            except BusUnavailable:
                pass
            if not self.holds():
                raise BusUnavailable("the lease ran out before it could be renewed", where=subjects.LEASE)

    async def _adopt(self) -> None:
        """A renewal that was stored although its answer was lost moves the sequence; it is still ours."""
        try:
            last = await self._bus.get_last(DESIRED.name, subjects.LEASE)
        except BusUnavailable:
            return
        if last is None or _lease_in(last).claim != self._claim:
            self._until_s = float("-inf")
            raise SequenceConflict("another controller has the lease", where=subjects.LEASE)
        self._sequence = last.sequence

    async def _release(self) -> None:
        """Leave a lease that says so, for a second; compare-and-set, so never somebody else's."""
        if not self.holds():
            return
        self._until_s = float("-inf")
        try:
            async with asyncio.timeout(2):
                await self._bus.put(self._lease(self._sequence, released=True))
        except (Transient, TimeoutError):
            _log.info("the lease was not released and will run out", after_s=LEASE_S)


async def _under(work: Callable[[Term], Awaitable[None]], term: Term) -> None:
    await work(term)


def _lease_in(message: Message) -> LeaseRecord:
    """What cannot be read is nobody's lease."""
    try:
        return LeaseRecord.from_bytes(message.data)
    except MessageMalformed:
        return LeaseRecord(holder="", claim="", released=True)


def _term_in(message: Message | None) -> TermRecord:
    try:
        return TermRecord.from_bytes(message.data if message else b"")
    except MessageMalformed:
        return TermRecord(term=0, holder="", epoch=0)
