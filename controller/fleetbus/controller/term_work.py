"""What a controller does under one term, wired together: it starts in order and ends as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from nacl.signing import SigningKey

from fleetbus.controller.artifacts import Artifacts
from fleetbus.controller.audit import AuditChain
from fleetbus.controller.charter import agreed, keep_published, publish_charter
from fleetbus.controller.command_lists import CommandLists
from fleetbus.controller.desk import Desk, Trust
from fleetbus.controller.emit import Emitter
from fleetbus.controller.enrolments import Enrolments
from fleetbus.controller.fence import Fence
from fleetbus.controller.follow import Follow
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.leader import Term
from fleetbus.controller.mailboxes import Mailboxes
from fleetbus.controller.ports import Capability, Ports
from fleetbus.controller.presence import PresenceFollower
from fleetbus.controller.publish import Publisher
from fleetbus.controller.recent import Recent
from fleetbus.controller.reconcile import Reconciler
from fleetbus.controller.refusals import Refusals
from fleetbus.controller.requests import Requests
from fleetbus.controller.reseal import reseal
from fleetbus.controller.seal import Seal
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.store import Documents
from fleetbus.controller.views import CLUSTER, FLEET_STATUS, Known, identified
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import Sealed
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import Transient
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.streams import ASPECTS, STATE

SWEEP_EVERY_S = 6 * 3600.0

_log = structlog.get_logger("controller")

Door = Callable[[Desk], Awaitable[None]]
"""Runs until cancelled."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What stays the same through every term."""

    name: str
    bus: Bus
    clock: Clock
    ports: Ports
    signing_key: SigningKey
    capabilities: Sequence[Capability]
    operators: Callable[[], Mapping[str, str]]
    roles: Callable[[], Mapping[str, str]]
    version: str
    issuer: Issuer | None = None
    root: str = ""
    vault: VaultPlace | None = None
    settings_problem: Callable[[], str] = lambda: ""
    former_keys: Sequence[str] = ()
    charter: Sealed | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    """By what everything under a term is signed and read. `is_news`: nobody has read this charter yet."""

    fence: Fence
    seal: Seal
    audit: AuditChain
    sealed: Sealed | None
    is_news: bool

    def pinned(self, fleet: Fleet) -> Trust:
        """What a join token makes its agent believe."""
        if self.sealed is None:
            return Trust((self.seal.own,), fleet.root, fleet.vault)
        charter = self.sealed.charter
        return Trust(charter.publish, fleet.root, fleet.vault, charter.order)

    async def keep_charter(self, fleet: Fleet, known: Known, sealed: Sealed) -> None:
        """Until cancelled."""
        bus, clock, root = fleet.bus, fleet.clock, fleet.root
        await keep_published(bus, clock, self.fence, known, root, sealed, is_news=self.is_news)


async def _begin(fleet: Fleet, fence: Fence) -> _Begun:
    """Before anything else is written: the charter stands on the bus, and no former key's word is needed any more."""
    bus, own = fleet.bus, public_key(fleet.signing_key)
    sealed = await agreed(bus, fleet.name, fleet.root, fence.term.epoch, own, fleet.charter)
    charter = sealed.charter if sealed else None
    seal = Seal.of(fleet.signing_key, (*fleet.former_keys, *(charter.publish if charter else ())))
    beside, before = (charter.publish, charter.former) if charter else ((), ())
    former = (*fleet.former_keys, *before)
    audit = AuditChain(bus, fleet.clock, fleet.name, fleet.signing_key, former, beside)
    is_news = sealed is not None and await publish_charter(bus, fence, audit, fleet.name, fleet.root, sealed)
    if len(seal.keys) > 1:
        await reseal(bus, fence, audit, seal)
    return _Begun(fence, seal, audit, sealed, is_news)


async def work(fleet: Fleet, term: Term, holds: Callable[[], bool], doors: Sequence[Door]) -> None:
    """Until cancelled, or until a write shows that the term is over (SequenceConflict)."""
    bus, clock = fleet.bus, fleet.clock
    time = ServerTime(clock)
    time.heard(term.began_at)
    known = Known(fleet.name, version=int(time.now().timestamp() * 1000))
    begun = await _begin(fleet, Fence(bus, term))
    seal, audit, fence = begun.seal, begun.audit, begun.fence
    statuses, recent = Statuses(bus, known, clock, seal), Recent()
    documents, refusals = Documents(bus, known, clock, audit, seal), Refusals(audit, clock)
    enrolments, artifacts = Enrolments(bus, known, audit, seal), Artifacts(bus, time)
    mailboxes = Mailboxes(bus, clock, known, seal)
    follow = Follow(bus, clock, known, time, seal=seal, doubt=mailboxes.doubt)
    publisher = Publisher(bus, clock, known, fence, artifacts, fleet.capabilities, seal.sign, time)
    command_lists = CommandLists(bus, clock, known, statuses, fence, seal, time, audit)
    emitter = Emitter(bus, clock, known, statuses, recent, time)
    presence = PresenceFollower(bus, clock, known)
    removing, told = partial(_remove_cluster, bus, publisher, enrolments), (fleet.capabilities, fleet.ports)
    reconciler = Reconciler(clock, known, documents, statuses, artifacts, *told, removing)
    desk = Desk(
        bus=bus,
        clock=clock,
        term=term,
        known=known,
        audit=audit,
        refusals=refusals,
        requests=Requests(clock),
        documents=documents,
        statuses=statuses,
        reconciler=reconciler,
        enrolments=enrolments,
        issuer=fleet.issuer,
        sign=seal.sign,
        trust=begun.pinned(fleet),
        publisher=publisher,
        command_lists=command_lists,
        recent=recent,
        capabilities=fleet.capabilities,
        operators=fleet.operators,
        roles=fleet.roles,
        version=fleet.version,
        settings_problem=fleet.settings_problem,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fence.watch())
        await _read_all(tasks, follow, enrolments)
        await recent.load(bus)
        await _drop_orphans(known, statuses)
        presence.restore()
        known.listeners.append(presence.changed)
        known.listeners += [emitter.changed, reconciler.changed, publisher.changed, command_lists.changed]
        await _say_ready(term, known, audit)
        publishing = (publisher.run, publisher.reissue, command_lists.run, command_lists.tidy, mailboxes.run)
        for loop in (emitter.run, *publishing, reconciler.run, presence.run, refusals.run):
            tasks.create_task(loop())
        if begun.sealed is not None:
            tasks.create_task(begun.keep_charter(fleet, known, begun.sealed))
        tasks.create_task(_sweep(clock, artifacts, publisher, holds))
        for door in doors:
            tasks.create_task(_stand(door, desk))


async def _read_all(tasks: asyncio.TaskGroup, follow: Follow, enrolments: Enrolments) -> None:
    """Until everything that is stored is known; both go on following it."""
    tasks.create_task(follow.run())
    await follow.ready.wait()
    tasks.create_task(enrolments.run())
    await enrolments.ready.wait()


async def _say_ready(term: Term, known: Known, audit: AuditChain) -> None:
    """With the end of the audit chain: a log that is kept elsewhere shows when it was cut off."""
    _log.info(
        "ready",
        term=term.number,
        documents=len(known.view().documents),
        clusters=len(known.clusters()),
        audit=str(await audit.newest()),
    )


async def _stand(door: Door, desk: Desk) -> None:
    await door(desk)


async def _remove_cluster(bus: Bus, publisher: Publisher, enrolments: Enrolments, stored: Stored) -> None:
    """What else goes with a Cluster document: its mailboxes, what it has reported, its tokens.

    Its revoked keys are remembered.
    """
    cluster = identified(stored) if stored.kind == CLUSTER else None
    if cluster is None:
        return
    await publisher.forget(cluster)
    await enrolments.forget(cluster)
    for aspect in ASPECTS:
        await bus.purge(STATE.name, subjects.state(cluster, aspect))
    await bus.purge(STATE.name, subjects.result(cluster))


async def _drop_orphans(known: Known, statuses: Statuses) -> None:
    """Statuses whose document went while a controller died in between."""
    view = known.view()
    for key in sorted(view.statuses.keys() - view.documents.keys() - {FLEET_STATUS}):
        _log.info("a status without a document is taken away", status=f"{key[0].lower()}/{key[1]}")
        await statuses.remove(key)


async def _sweep(clock: Clock, artifacts: Artifacts, publisher: Publisher, may: Callable[[], bool]) -> None:
    while True:
        await clock.sleep(clock.jitter(SWEEP_EVERY_S))
        try:
            swept = await artifacts.sweep(publisher.roots(), may)
        except Transient as error:
            _log.warning("the sweep of artifacts ended early", reason=error.sentence())
        else:
            _log.info("artifacts swept", count=swept)
