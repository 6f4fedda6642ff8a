"""What the cluster reports: one signed state an aspect, with the transitions that no event shows yet.

A new body and its transitions are kept in the cluster before they are published, so that none is lost;
a transition goes once the cluster's own event of it has been seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from fleetbus.agent.outbox import Record, bounded, fitting, parse_record, published_up_to
from fleetbus.agent.ports import Identity, Keep
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import next_serial
from fleetbus.schemas.errors import BusUnavailable, Refused, SequenceConflict
from fleetbus.schemas.events import Happened
from fleetbus.schemas.signing import Sign
from fleetbus.schemas.states import RESULT_ASPECT, State
from fleetbus.schemas.streams import EVENTS

SESSION = "session"
COALESCE_S = 0.02
MOST_WAITS = 15
"""So many times COALESCE_S a report waits for a pass that is under way."""
OUTBOX_EVERY_S = 10.0
AGAIN_EVERY_S = 1800.0
ACKNOWLEDGED_WITHIN_S = 10.0

Transitions = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Sequence[Happened]]

log = structlog.get_logger("report")


def kept_key(aspect: str) -> str:
    return f"report-{aspect}"


class Reporter:
    """The states of one cluster for one life under the Lease.

    `transitions` by aspect; `confirm` looks at the Lease again and says whether it is still ours.
    """

    def __init__(
        self,
        identity: Identity,
        bus: Bus,
        keep: Keep,
        clock: Clock,
        sign: Sign,
        transitions: Mapping[str, Transitions],
        confirm: Callable[[], Awaitable[bool]],
    ) -> None:
        self._identity = identity
        self._bus = bus
        self._keep = keep
        self._clock = clock
        self._sign = sign
        self._transitions = transitions
        self._confirm = confirm
        self._records = {aspect: parse_record(keep.kept(kept_key(aspect))) for aspect in transitions}
        self._unkept: set[str] = set()
        self._unsent: set[str] = set()
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._silent: tuple[int, float] | None = None
        """The connection on which nothing has been acknowledged, and since when."""
        self._passes = 0
        self.session = 0
        """Sequence of this life's session state; 0 until it is written."""

    def reported(self, aspect: str) -> Mapping[str, Any]:
        """The body that was reported last, by this process or one before it."""
        return self._records[aspect].body

    def take(self, aspect: str, body: Mapping[str, Any] | None, happened: Sequence[Happened] = ()) -> None:
        """A whole body (None: as it was); published soon if it differs, with what it tells and what happened."""
        record = self._records[aspect]
        body = record.body if body is None else body
        told = [*self._transitions[aspect](aspect, record.body, body), *happened]
        nothing_new = record.body == body if record.serial else not any(body.values())
        if nothing_new and not told:
            return
        now = self._clock.now()
        self._records[aspect] = Record(
            serial=next_serial(record.serial, now),
            at=now,
            body=dict(body),
            outbox=record.outbox.with_(now, *(fitting(one) for one in told)),
        )
        self._unkept.add(aspect)
        self._dirty.set()

    async def run(self) -> None:
        """For ever: the session first, then everything that is known, then what changes."""
        self._unsent.update(aspect for aspect, record in self._records.items() if record.serial)
        self._dirty.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("report", self._flush, self._clock, wake=self._wait_dirty))
            group.create_task(repeat("outbox", self._drop_published, self._clock))
            group.create_task(self._say_again())

    async def _say_again(self) -> None:
        """Whoever owns the bus can write over what was reported, and nobody tells: it is said again now and then.

        Under a session of its own, so that the controller knows what stood there before, and takes it away.
        """
        while True:
            await self._clock.sleep(self._clock.jitter(AGAIN_EVERY_S))
            async with self._writing:
                self._end_session()
            self._dirty.set()

    async def prove(self, aspect: str) -> None:
        """Write an aspect again; without an acknowledgement in time leave this connection for another."""
        if not self.session or not self._records[aspect].serial or aspect in self._unkept:
            return
        connection = self._bus.connection
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                while True:
                    try:
                        async with self._writing:
                            if aspect not in self._unkept:
                                await self._publish(aspect)
                        return
                    except BusUnavailable:
                        if not self.session:
                            self._dirty.set()
                            return
                        await self._clock.sleep(self._clock.jitter(1.0))
                    except SequenceConflict:
                        self._unsent.add(aspect)
                        self._dirty.set()
                        return
        except TimeoutError:
            if self._bus.connected and self._bus.connection == connection:
                await self._connect_anew()

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """While a pass is under way, what changed waits for what it will add: one write instead of two."""
        self._passes += 1
        try:
            yield
        finally:
            self._passes -= 1

    async def _wait_dirty(self) -> None:
        await self._dirty.wait()
        for _ in range(MOST_WAITS):
            await self._clock.sleep(COALESCE_S)
            if not self._passes:
                return

    async def _flush(self) -> None:
        connection = self._bus.connection
        try:
            await self._flush_all()
        except BusUnavailable:
            await self._leave_silence(connection)
            raise
        self._silent = None

    async def _leave_silence(self, connection: int) -> None:
        """Nothing was acknowledged; after a while of that on one connection, look for another."""
        now_s = self._clock.monotonic_s()
        if not self._bus.connected or self._bus.connection != connection:
            self._silent = None
        elif self._silent is None or self._silent[0] != connection:
            self._silent = (connection, now_s)
        elif now_s - self._silent[1] >= ACKNOWLEDGED_WITHIN_S:
            self._silent = None
            await self._connect_anew()

    async def _connect_anew(self) -> None:
        log.warning("no acknowledgement from the bus, connecting anew", within_s=ACKNOWLEDGED_WITHIN_S)
        await self._bus.reconnect()

    async def _flush_all(self) -> None:
        self._dirty.clear()
        if not self.session:
            await self._open_session()
        if self._unkept:
            keeping = {aspect: self._records[aspect] for aspect in sorted(self._unkept)}
            await self._keep.keep({kept_key(aspect): record.kept() for aspect, record in keeping.items()})
            # What changed meanwhile stays unkept, and is not published before it is kept.
            self._unkept -= {one for one, record in keeping.items() if self._records[one] is record}
            self._unsent |= keeping.keys()
        for aspect in sorted(self._unsent):
            async with self._writing:
                if aspect not in self._unkept:
                    await self._send(aspect)
                    self._unsent.discard(aspect)
        if self._unkept:
            self._dirty.set()

    async def _send(self, aspect: str) -> None:
        try:
            await self._publish(aspect)
        except SequenceConflict:
            self._overtaken()
            raise
        except Refused as error:
            # One that the bus will never take must not keep the others back.
            log.error("state not published", aspect=aspect, message=error)

    async def _open_session(self) -> None:
        """Only under the Lease, looked at just now: then no older session can be anybody's who may act."""
        if not await self._confirm():
            raise SequenceConflict("the Lease could not be confirmed")
        await self._count_on()
        record = self._records[SESSION]
        await self._keep.keep({kept_key(SESSION): record.kept()})
        self._unkept.discard(SESSION)
        async with self._writing:
            self.session = await self._bus.put(Put(*self._signed(SESSION, record)))
        self._unsent.update(one for one, known in self._records.items() if known.serial and one != SESSION)
        self._unsent.discard(SESSION)
        log.info("session opened", session=self.session)

    def _overtaken(self) -> None:
        log.warning("another session has been opened", session=self.session)
        self._end_session()

    def _end_session(self) -> None:
        self.session = 0
        record, now = self._records[SESSION], self._clock.now()
        self._records[SESSION] = record.again(next_serial(record.serial, now), now)

    async def _publish(self, aspect: str) -> None:
        subject, content = self._signed(aspect, self._records[aspect])
        if aspect == SESSION:
            self.session = await self._put(Put(subject, content, expected=self.session))
            return
        cluster = self._identity.cluster
        session = subjects.state(cluster, SESSION)
        await self._put(Put(subject, content, expected=self.session, expected_subject=session))

    async def _put(self, put: Put) -> int:
        connection = self._bus.connection
        try:
            return await self._bus.put(put)
        except BusUnavailable:
            if self._bus.connected and self._bus.connection == connection:
                # It may still arrive, and only a new session keeps it from replacing what is written after it.
                self._end_session()
            raise

    def _signed(self, aspect: str, record: Record) -> tuple[str, bytes]:
        who = self._identity
        subject = (
            subjects.result(who.cluster) if aspect == RESULT_ASPECT else subjects.state(who.cluster, aspect)
        )
        state = State(
            fleet=who.fleet,
            cluster=who.cluster.name,
            uid=who.uid,
            aspect=aspect,
            session=0 if aspect == SESSION else self.session,
            serial=record.serial,
            at=self._clock.now(),
            body=record.body,
            outbox=record.outbox,
        )
        return subject, self._sign(subject, bounded(state).to_bytes())

    async def _drop_published(self) -> float:
        """Let go of the transitions that the cluster's own last events show."""
        for aspect, upto in (await self._events_seen()).items():
            record = self._records[aspect]
            left = record.outbox.without(upto)
            if left != record.outbox:
                now = self._clock.now()
                self._records[aspect] = record.again(next_serial(record.serial, now), now, left)
                self._unkept.add(aspect)
                self._dirty.set()
        return self._clock.jitter(OUTBOX_EVERY_S)

    async def _count_on(self) -> None:
        """After the cluster's memory was lost: count from where the events are, or new ones would pass for old."""
        for aspect, upto in (await self._chain_told()).items():
            record = self._records[aspect]
            outbox = record.outbox.counted_on(upto)
            if outbox != record.outbox:
                self._records[aspect] = replace(record, outbox=outbox)
                self._unkept.add(aspect)

    async def _events_seen(self) -> dict[str, int]:
        """Per aspect the highest transition that has become an event, when any is waited for."""
        if not any(record.outbox.pending for record in self._records.values()):
            return {}
        return await self._chain_told()

    async def _chain_told(self) -> dict[str, int]:
        """How far each aspect has come, as the chain's last event says."""
        cluster = self._identity.cluster
        last = await self._bus.get_last(EVENTS.name, subjects.events_of(cluster.realm, cluster.name))
        seen = published_up_to(last.data, last.headers, self._identity.uid) if last else {}
        return {aspect: sequence for aspect, sequence in seen.items() if aspect in self._records}
