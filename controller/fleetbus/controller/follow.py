"""From the bus into what is known: documents, statuses, our own mailboxes, and what the clusters report.

A message that is refused leaves the last good one and is told in one sentence, which `views` shows and from which
the cluster's condition and its event come. What is told changes every few seconds at most, whatever a cluster sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from fleetbus.controller.ports import ClusterView
from fleetbus.controller.seal import Seal
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.verification import Accepted, Expected, verified_state
from fleetbus.controller.views import CLUSTER, Known, cluster_spec
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, CaughtUp, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities.clusters import ClusterDetails
from fleetbus.schemas.desired import CommandList, Head, newer
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import FleetbusError, MessageMalformed, Stale
from fleetbus.schemas.states import RESULT_ASPECT
from fleetbus.schemas.streams import DESIRED, DOCUMENTS, STATE, STATUS
from fleetbus.schemas.subjects import ClusterId

REMOVED_HEADER = "Fleetbus-Removed"
TOLD_EVERY_S = 2.0

_log = structlog.get_logger("controller")

Take = Callable[[Message], None]


class Follow:
    """Followers of every stream that the controller reads; `run` until cancelled, `ready` once all is known."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        time: ServerTime,
        *,
        seal: Seal,
        doubt: Callable[[str], None] = lambda subject: None,
    ) -> None:
        """`doubt`: is told of each subject of which a message was left out."""
        self.ready = asyncio.Event()
        self._bus = bus
        self._known = known
        self._time = time
        self._seal = seal
        self._doubt = doubt
        self._refusals: dict[str, dict[str, str]] = {}
        self._telling: Worklist[str] = Worklist(clock, self._tell, at_once=1, spacing_s=lambda: TOLD_EVERY_S)
        self._rereads: Worklist[str] = Worklist(
            clock, self._read_again, at_once=2, spacing_s=lambda: TOLD_EVERY_S
        )
        self._identities: dict[str, Identity] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = [
                (DOCUMENTS.name, subjects.ALL_DOCUMENTS, self._take_document),
                (STATUS.name, subjects.ALL_STATUSES, self._take_status),
            ]
            then = [
                (DESIRED.name, subjects.ALL_HEADS, self._take_head),
                (DESIRED.name, subjects.ALL_COMMANDS, self._take_commands),
                (STATE.name, subjects.ALL_STATES, self._take_report),
                (STATE.name, subjects.ALL_RESULTS, self._take_report),
            ]
            for group in (first, then):
                caught = [asyncio.Event() for _ in group]
                for (stream, subject, take), event in zip(group, caught, strict=True):
                    tasks.create_task(self._follow(stream, subject, take, event))
                for event in caught:
                    await event.wait()
            self._remember_members()
            self._known.listeners.append(self._identity_changed)
            tasks.create_task(self._telling.run())
            tasks.create_task(self._rereads.run())
            self.ready.set()

    async def _follow(self, stream: str, subject: str, take: Take, caught: asyncio.Event) -> None:
        async for item in self._bus.follow(stream, subject):
            if isinstance(item, CaughtUp):
                caught.set()
                continue
            self._time.heard(item.stored_at)
            try:
                take(item)
            except FleetbusError as error:
                _log.warning(
                    "a stored message is left out", where=cleaned(item.subject, 512), reason=str(error)
                )
                self._doubt(item.subject)
            except Exception as error:  # The edge of the loop: one message must not stop the others.
                _log.error(
                    "a stored message failed", where=cleaned(item.subject, 512), error=type(error).__name__
                )

    def _take_document(self, message: Message) -> None:
        subject = subjects.parse_document(message.subject)
        if subject is None:
            return
        if REMOVED_HEADER in message.headers:
            self._drop(message, lambda key: self._known.drop_document(key), self._known.view().documents)
            return
        if not self._known.newer(message.subject, message.sequence):
            return
        stored = Stored.from_bytes(self._seal.opened(message.subject, message.data))
        if subjects.document(stored.kind.lower(), stored.name) != message.subject:
            raise MessageMalformed("a document under another document's subject")
        known = self._known.document(stored.key)
        if known is not None and stored.updated_at < known.updated_at:
            raise Stale("a document as it was before")
        self._known.put_document(stored)

    def _take_status(self, message: Message) -> None:
        if REMOVED_HEADER in message.headers:
            self._drop(message, lambda key: self._known.drop_status(key), self._known.view().statuses)
            return
        if not self._known.newer(message.subject, message.sequence):
            return
        status = Status.from_bytes(self._seal.opened(message.subject, message.data))
        if subjects.status(status.kind.lower(), status.name) != message.subject:
            raise MessageMalformed("a status under another document's subject")
        known = self._known.status((status.kind, status.name))
        if known is not None and known.uid == status.uid and status.serial < known.serial:
            raise Stale("a status as it was before")
        self._known.put_status(status)

    def _drop(self, message: Message, drop: Callable[[tuple[str, str]], None], keys: object) -> None:
        """A purge took what stood there, up to the sequence that the message names."""
        if self._known.sequence(message.subject) > message.sequence:
            return
        subject = subjects.parse_document(message.subject)
        for key in list(keys if isinstance(keys, dict) else ()):
            if subject and (key[0].lower(), key[1]) == (subject.kind, subject.name):
                self._known.forget(message.subject)
                drop(key)

    def _take_head(self, message: Message) -> None:
        cluster = subjects.parse_cluster(message.subject, "desired")
        if cluster is None:
            return
        if REMOVED_HEADER in message.headers:
            if self._known.sequence(message.subject) <= message.sequence:
                self._known.put_head(cluster, None)
            return
        head = Head.from_bytes(self._seal.opened(message.subject, message.data))
        if self._known.newer(message.subject, message.sequence):
            _expect_order(head, self._known.heads.get(cluster))
            self._known.put_head(cluster, head)

    def _take_commands(self, message: Message) -> None:
        cluster = subjects.parse_cluster(message.subject, "command")
        if cluster is None:
            return
        if REMOVED_HEADER in message.headers:
            if self._known.sequence(message.subject) <= message.sequence:
                self._known.put_commands(cluster, None)
            return
        told = CommandList.from_bytes(self._seal.opened(message.subject, message.data))
        if self._known.newer(message.subject, message.sequence):
            _expect_order(told, self._known.command_lists.get(cluster))
            self._known.put_commands(cluster, told)

    # what clusters report

    def _take_report(self, message: Message) -> None:
        """One of a cluster that floods is left where it is stored; now and then the newest are read."""
        place = _place(message.subject)
        view = self._known.cluster(place[0].name) if place else None
        if view is not None:
            self._known.sent[view.id.name] += 1
            if view.presence.flooding and self.ready.is_set():
                self._rereads.add(view.id.name)
                return
        self._take_state(message)

    def _take_state(self, message: Message) -> None:
        place = _place(message.subject)
        if place is None or REMOVED_HEADER in message.headers:
            return
        cluster, aspect = place
        view = self._known.cluster(cluster.name)
        if view is None or view.id != cluster or not self._known.newer(message.subject, message.sequence):
            return
        if view.document.deleting is not None:
            return  # It has left: nothing that its key signs counts.
        spec = cluster_spec(view.document)
        if spec is None:
            return
        session = view.states.get("session")
        expected = Expected.of(self._known.fleet, cluster, spec, session.uid if session else "")
        try:
            state, body = verified_state(
                message.subject, message.data, aspect, expected, self._accepted(view, aspect)
            )
        except FleetbusError as error:
            self._refuse(cluster.name, aspect, error)
            return
        self._accept(cluster.name, aspect)
        # The same session read again, as a second look does, asks for no third.
        is_new = aspect == "session" and (session is None or session.serial != state.serial)
        if is_new and self._refusals.get(cluster.name):
            self._rereads.add(cluster.name)
        self._known.put_state(cluster.name, state, body)

    def _accepted(self, view: ClusterView, aspect: str) -> Accepted | None:
        """The status tells of the time before this controller."""
        last = view.states.get(aspect)
        if last is not None:
            return Accepted(last.uid, last.serial)
        status = self._known.status(view.document.key)
        if status is None or status.uid != view.document.uid:
            return None
        details = ClusterDetails.from_json(status.details)
        return Accepted(details.uid, details.serials.get(aspect, 0))

    def _accept(self, name: str, aspect: str) -> None:
        refusals = self._refusals.get(name)
        if refusals and refusals.pop(aspect, None) is not None:
            self._telling.add(name)

    def _refuse(self, name: str, aspect: str, error: FleetbusError) -> None:
        sentence = cleaned(f"{aspect}: {error.message}" + (f"; {error.remedy}" if error.remedy else ""), 512)
        refusals = self._refusals.setdefault(name, {})
        if refusals.get(aspect) == sentence:
            return
        refusals.pop(aspect, None)
        refusals[aspect] = sentence
        if self.ready.is_set():
            self._telling.add(name)
        else:
            # Before anybody decides, so that a restart does not look like a recovery.
            self._known.put_refused(name, sentence)

    async def _tell(self, name: str) -> None:
        """Show the newest refusal that stands."""
        refusals = self._refusals.get(name, {})
        sentence = next(reversed(refusals.values()), "")
        if sentence:
            _log.warning("a cluster's message is refused", cluster=name, reason=sentence)
        self._known.put_refused(name, sentence)

    def _remember_members(self) -> None:
        """Who is a member at the start; what is refused of one may be a former one's."""
        for view in self._known.clusters():
            name, identity = view.id.name, _identity(view.document)
            if identity is not None:
                self._identities[name] = identity
            if name in self._refusals:
                self._rereads.add(name)

    def _identity_changed(self, change: object) -> None:
        """A Cluster document with another key, UID or realm: what was refused may be right now, or the reverse."""
        kind, name = getattr(change, "kind", ""), getattr(change, "name", "")
        if getattr(change, "what", "") != "document" or kind != CLUSTER:
            return
        stored = self._known.document((CLUSTER, name))
        before, identity = self._identities.get(name), _identity(stored) if stored else None
        if identity is None:
            self._identities.pop(name, None)
            self._refusals.pop(name, None)
        elif before != identity:
            self._identities[name] = identity
            if before is not None and before.document != identity.document:
                self._refusals.pop(name, None)
            self._rereads.add(name)

    async def _read_again(self, name: str) -> None:
        view = self._known.cluster(name)
        if view is None:
            return
        messages = await self._bus.get_many(STATE.name, subjects.states_of(view.id), limit=64)
        result = await self._bus.get_last(STATE.name, subjects.result(view.id))
        messages.sort(key=lambda message: not message.subject.endswith(".session"))
        for message in [*messages, *([result] if result else [])]:
            if message.sequence < self._known.sequence(message.subject):
                continue
            self._known.forget(message.subject)
            self._take_state(message)
            await self._purge_former(view.id, message)

    async def _purge_former(self, cluster: ClusterId, message: Message) -> None:
        """What a former cluster of this name left would be refused, and told, for ever.

        It was stored before this one joined, or before its session: since then only its own agent's is taken.
        """
        view, place = self._known.cluster(cluster.name), _place(message.subject)
        if view is None or place is None or place[1] not in self._refusals.get(cluster.name, {}):
            return
        session = self._known.sequence(subjects.state(cluster, "session")) if view.session else 0
        joined_at = view.document.created_at
        if message.sequence < session or (message.stored_at is not None and message.stored_at < joined_at):
            await self._bus.purge(STATE.name, message.subject)
            self._accept(cluster.name, place[1])


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides whose states a cluster's are. `document`: the UID of its document, new with every join."""

    document: str
    realm: str
    key: str
    uid: str


def _identity(stored: Stored) -> Identity | None:
    spec = cluster_spec(stored)
    return Identity(stored.uid, spec.realm, spec.key, spec.uid) if spec else None


def _expect_order(told: Head | CommandList, known: Head | CommandList | None) -> None:
    """Raises Stale: our own earlier word, put there again, is not what was told last."""
    if known is not None and newer(known, (told.epoch, told.serial)):
        raise Stale(f"an earlier word, {told.epoch}.{told.serial}")


def _place(subject: str) -> tuple[ClusterId, str] | None:
    """The cluster and the aspect that a stored subject of STATE names."""
    state = subjects.parse_state(subject)
    if state is not None:
        return state.cluster, state.aspect
    cluster = subjects.parse_cluster(subject, "result")
    return (cluster, RESULT_ASPECT) if cluster else None
