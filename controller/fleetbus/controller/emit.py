"""Transitions into events, each exactly once: one chain a cluster, and one for the fleet's documents.

Every event is written expecting the chain's last sequence, and carries in a header how far each origin has
come. So the chain's last event tells a controller that starts, or one that lost a race, what has been emitted;
nothing else is remembered. An origin's transitions go out in their order.

EVENTS forgets the oldest of all: so that no cluster can drive the others' out, each has an allowance, and what is
beyond it waits in the cluster's own outbox, which is bounded.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from fleetbus.controller.ports import Change, Key
from fleetbus.controller.recent import Recent
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import CLUSTER, Known
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.catalogue import events_told_in
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError
from fleetbus.schemas.events import EMITTED_HEADER, Transition, cloud_event, emitted_header, emitted_in
from fleetbus.schemas.limits import EVENTS_BURST, EVENTS_PER_S, KIB
from fleetbus.schemas.streams import EVENTS

MOST_BYTES = 32 * 1024
_LEAST_WAIT_S = 1.0
_ROUND = 64
"""Statuses whose events go out before they are trimmed: what the header must hold stays small."""
_REMEMBERED = 16
_KEPT = timedelta(seconds=EVENTS.max_age_s)

ChainKey = tuple[str, str]
"""(realm, cluster), or (main realm, FLEET)."""

FLEET_CHAIN: ChainKey = (subjects.MAIN, subjects.FLEET)

_log = structlog.get_logger("controller")


@dataclass(slots=True)
class Chain:
    """Where a chain ends, and how far each origin in it has come (the oldest first)."""

    last: int
    emitted: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def mark(self, origin: str, sequence: int) -> None:
        self.emitted[origin] = sequence
        self.emitted.move_to_end(origin)


@dataclass(slots=True)
class Allowance:
    """How many events of one cluster may go out now: a token bucket, in which a large one counts for several."""

    at_s: float
    left: float = EVENTS_BURST

    def take(self, now_s: float, size_bytes: int) -> float:
        """0 when one of this size may go out, and it is counted; else the seconds until it may."""
        cost = max(1.0, size_bytes / KIB)
        self.left = min(float(EVENTS_BURST), self.left + (now_s - self.at_s) * EVENTS_PER_S)
        self.at_s = now_s
        if self.left < cost:
            return max(_LEAST_WAIT_S, (cost - self.left) / EVENTS_PER_S)
        self.left -= cost
        return 0.0


@dataclass(frozen=True, slots=True)
class Pending:
    """Transitions of one origin that may not be events yet. `cluster` names their source, if any.

    `types`: those that the origin may tell; None for the controller's own, which may tell all.
    """

    origin: str
    cluster: str | None
    transitions: tuple[Transition, ...]
    types: frozenset[str] | None = None


def due(chain: Chain, pending: Iterable[Pending]) -> list[tuple[Pending, Transition]]:
    """What the chain does not show yet, by time, each origin in its own order. Pure."""
    found = [
        (one, transition)
        for one in pending
        for transition in one.transitions
        if transition.sequence > chain.emitted.get(one.origin, 0)
    ]
    latest: dict[str, float] = {}
    keyed = []
    for one, transition in sorted(found, key=lambda pair: (pair[0].origin, pair[1].sequence)):
        # A clock that went back must not let a later transition overtake.
        at_s = max(transition.at.timestamp(), latest.get(one.origin, 0.0))
        latest[one.origin] = at_s
        keyed.append(((at_s, one.origin, transition.sequence), one, transition))
    return [(one, transition) for _, one, transition in sorted(keyed, key=lambda entry: entry[0])]


def fitting(transition: Transition, types: frozenset[str] | None = None) -> Transition | None:
    """The transition with printable, bounded text; None when its type can be no event's, or none of `types`."""
    if types is not None and transition.type not in types:
        return None
    try:
        subjects.event_type(transition.type)
    except DocumentInvalid:
        return None
    details = {
        cleaned(key, 64): cleaned(value, 1024) if isinstance(value, str) else value
        for key, value in list(transition.details.items())[:64]
    }
    short = transition.model_copy(
        update={
            "subject": cleaned(transition.subject, 320),
            "reason": cleaned(transition.reason, 128),
            "message": cleaned(transition.message, 2048),
            "details": details,
        }
    )
    return short if len(short.to_bytes()) < MOST_BYTES // 2 else short.model_copy(update={"details": {}})


class Emitter:
    """Writes EVENTS for the length of one term."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        statuses: Statuses,
        recent: Recent,
        time: ServerTime,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._statuses = statuses
        self._recent = recent
        self._time = time
        self._chains: dict[ChainKey, Chain] = {}
        self._allowances: dict[ChainKey, Allowance] = {}
        self._pending_keys: dict[Key, None] = {}
        self._work: Worklist[ChainKey] = Worklist(clock, self._drain, at_once=16)

    def changed(self, change: Change) -> None:
        if change.what == "status":
            status = self._known.status((change.kind, change.name))
            if status is not None and status.outbox.pending:
                self._pending_keys[(change.kind, change.name)] = None
                self._work.add(FLEET_CHAIN)
        elif change.what == "state":
            view = self._known.cluster(change.name)
            state = view.states.get(change.aspect) if view else None
            if view is not None and state is not None and state.outbox.pending:
                self._work.add((view.id.realm, view.id.name))

    async def run(self) -> None:
        """Emit everything pending, and then whatever comes, until cancelled."""
        for kind, name in self._known.view().statuses:
            self.changed(Change("status", kind, name))
        for view in self._known.clusters():
            for aspect in view.states:
                self.changed(Change("state", CLUSTER, view.id.name, aspect))
        await self._work.run()

    async def _drain(self, key: ChainKey) -> float | None:
        if key == FLEET_CHAIN:
            await self._drain_fleet()
            return None
        view = self._known.cluster(key[1])
        if view is not None and view.id.realm == key[0]:
            _, again_in_s = await self._emit(
                key,
                [
                    Pending(
                        f"{state.uid}/{aspect}", view.id.name, state.outbox.pending, events_told_in(aspect)
                    )
                    for aspect, state in view.states.items()
                ],
            )
            return again_in_s
        self._allowances.pop(key, None)
        return None

    async def _drain_fleet(self) -> None:
        while self._pending_keys:
            keys = self._round(self._chains.get(FLEET_CHAIN) or await self._read(FLEET_CHAIN))
            found = [(key, status) for key in keys if (status := self._known.status(key)) is not None]
            chain, _ = await self._emit(FLEET_CHAIN, [_of_status(key, status) for key, status in found])
            trims = [self._trim(key, status.uid, chain.emitted.get(status.uid, 0)) for key, status in found]
            for key in keys:
                del self._pending_keys[key]
            done = await asyncio.gather(*trims, return_exceptions=True)
            failed = [(key, error) for (key, _), error in zip(found, done, strict=True) if error is not None]
            self._pending_keys.update(dict.fromkeys(key for key, _ in failed))
            self._forget_trimmed(chain)
            if failed:
                raise failed[0][1]

    def _round(self, chain: Chain) -> list[Key]:
        """The next keys; first those whose marks the chain holds, since only their trimming lets it forget them."""

        def is_new(key: Key) -> bool:
            status = self._known.status(key)
            return status is None or status.uid not in chain.emitted

        return sorted(self._pending_keys, key=is_new)[:_ROUND]

    def _forget_trimmed(self, chain: Chain) -> None:
        """A mark stays while its status holds a transition, or that would become an event again."""
        statuses = self._known.view().statuses.values()
        untrimmed = {status.uid for status in statuses if status.outbox.pending}
        forgettable = [origin for origin in chain.emitted if origin not in untrimmed]
        for origin in forgettable[: max(0, len(chain.emitted) - _REMEMBERED)]:
            del chain.emitted[origin]

    async def _trim(self, key: Key, uid: str, emitted: int) -> None:
        def amend(status: Status | None) -> Status | None:
            if status is None or status.uid != uid or not status.outbox.pending:
                return None
            return status.model_copy(update={"outbox": status.outbox.without(emitted)})

        await self._statuses.amend(key, amend)

    async def _emit(self, key: ChainKey, pending: Iterable[Pending]) -> tuple[Chain, float | None]:
        """The chain as it is then, and after how many seconds the rest may go out, if something is left.

        Raises SequenceConflict and BusUnavailable; then the chain is read anew before the next try.
        """
        pending = list(pending)
        chain = self._chains.get(key) or await self._read(key)
        if key != FLEET_CHAIN and pending:
            # A cluster that was made anew counts from the start, under its own UID.
            owners = {one.origin.partition("/")[0] for one in pending}
            for origin in [one for one in chain.emitted if one.partition("/")[0] not in owners]:
                del chain.emitted[origin]
        for one, transition in due(chain, pending):
            short = fitting(transition, one.types)
            too_old = not chain.last and transition.at + _KEPT < self._time.now()
            if short is None or too_old:
                _log.warning(
                    "a transition makes no event", origin=one.origin, type=cleaned(transition.type, 80)
                )
                chain.mark(one.origin, transition.sequence)
                continue
            if wait_s := self._wait_s(key, short):
                return chain, wait_s
            try:
                await self._write(key, chain, one, short)
            except FleetbusError:
                self._chains.pop(key, None)
                raise
        return chain, None

    def _wait_s(self, key: ChainKey, transition: Transition) -> float:
        if key == FLEET_CHAIN:
            return 0.0
        now_s = self._clock.monotonic_s()
        return self._allowances.setdefault(key, Allowance(now_s)).take(now_s, len(transition.to_bytes()))

    async def _write(self, key: ChainKey, chain: Chain, one: Pending, transition: Transition) -> None:
        event = cloud_event(self._known.fleet, one.cluster, one.origin, transition)
        marks = {**chain.emitted, one.origin: transition.sequence}
        put = Put(
            subjects.emit(*key, transition.type),
            event.to_bytes(),
            expected=chain.last,
            expected_subject=subjects.events_of(*key),
            headers={EMITTED_HEADER: emitted_header(marks)},
        )
        chain.last = await self._bus.put(put)
        chain.mark(one.origin, transition.sequence)
        self._recent.add(event)

    async def _read(self, key: ChainKey) -> Chain:
        last = await self._bus.get_last(EVENTS.name, subjects.events_of(*key))
        chain = Chain(last.sequence if last else 0)
        if last is not None:
            chain.emitted.update(emitted_in(last.headers))
        self._chains[key] = chain
        return chain


def _of_status(key: Key, status: Status) -> Pending:
    return Pending(status.uid, key[1] if key[0] == CLUSTER else None, status.outbox.pending)
