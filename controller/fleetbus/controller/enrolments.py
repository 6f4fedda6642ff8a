"""What is kept of each name's tokens, member and claims: one record a name, written by compare-and-set.

In memory they are bytes, as there may be as many as clusters. Who has a name says the Cluster document: the record
only adds what is not for operators to write. A record that names a revoked key is never taken away.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from fleetbus.controller.audit import AuditChain, Entry
from fleetbus.controller.decisions import enrolment as decisions
from fleetbus.controller.follow import REMOVED_HEADER
from fleetbus.controller.seal import Seal
from fleetbus.controller.store import Beside
from fleetbus.controller.views import CLUSTER, Known, cluster_spec, identified
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, CaughtUp, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.enrolment import Enrolment, Member, RevokedKey
from fleetbus.schemas.errors import FleetbusError, NotPossible
from fleetbus.schemas.streams import DOCUMENTS
from fleetbus.schemas.subjects import ClusterId

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class _Kept:
    sequence: int
    content: bytes
    """Empty when nothing of ours stands there."""


class Enrolments:
    """The records; `run` until cancelled, `ready` once all are known."""

    def __init__(self, bus: Bus, known: Known, audit: AuditChain, seal: Seal) -> None:
        self.ready = asyncio.Event()
        self.locks: defaultdict[ClusterId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._bus = bus
        self._known = known
        self._audit = audit
        self._seal = seal
        self._kept: dict[ClusterId, _Kept] = {}
        self._revoked: dict[str, RevokedKey] = {}

    async def run(self) -> None:
        async for item in self._bus.follow(DOCUMENTS.name, subjects.ALL_ENROLMENTS):
            if isinstance(item, CaughtUp):
                self.ready.set()
                continue
            try:
                self._take(item)
            except FleetbusError as error:
                _log.warning("a record is left out", where=cleaned(item.subject, 512), reason=str(error))

    def read(self, cluster: ClusterId) -> Enrolment:
        """The record of a name, with its member as the Cluster document has it. Raises NotPossible."""
        kept = self._kept.get(cluster)
        record = (
            Enrolment.from_bytes(kept.content)
            if kept and kept.content
            else Enrolment(realm=cluster.realm, name=cluster.name)
        )
        return decisions.held_by(record, self._member(cluster, record.member))

    def records(self, name: str = "") -> Iterator[Enrolment]:
        """All that have a record, or those of one name; none of a name that a cluster of another realm has by now."""
        there = [one for one in self._kept if name in ("", one.name)]
        for cluster in sorted(there, key=lambda one: (one.name, one.realm)):
            try:
                record = self.read(cluster)
            except NotPossible:
                continue
            yield record

    def revoked(self, *nkeys: str) -> RevokedKey | None:
        """The first of these keys that was revoked once, under whatever name."""
        return next((self._revoked[one] for one in nkeys if one in self._revoked), None)

    def elsewhere(self, cluster: ClusterId, nkey: str, uid: str) -> str:
        """The other name by which this key, or this cluster, is a member; empty for none."""
        for view in self._known.clusters():
            spec = view.document.spec
            if view.document.deleting is not None:
                continue
            if view.id != cluster and (spec.get("key") == nkey or spec.get("uid") == uid):
                return view.id.name
        return ""

    def beside(self, record: Enrolment, entry: Entry) -> Beside:
        """The write of a record, for the batch of its Cluster document."""
        put = self._put(record)
        return Beside(put, lambda sequence: self._written(record, sequence), entry)

    async def write(self, record: Enrolment, *entries: Entry) -> None:
        """With audit records of what is told, in one batch. Raises SequenceConflict, BusUnavailable."""
        put = self._put(record)
        sequence = await (self._audit.write([put], entries) if entries else self._bus.put(put))
        self._written(record, sequence)

    async def forget(self, cluster: ClusterId) -> None:
        """Everything of a name but its revoked keys. Raises SequenceConflict, BusUnavailable."""
        async with self.locks[cluster]:
            kept = self._kept.get(cluster)
            record = Enrolment.from_bytes(kept.content) if kept and kept.content else None
            if record is not None and record.revoked:
                bare = Enrolment(realm=record.realm, name=record.name, revoked=record.revoked)
                if bare != record:
                    await self.write(bare)
                return
            await self._bus.purge(DOCUMENTS.name, subjects.enrolment(cluster))
            self._kept.pop(cluster, None)

    def _put(self, record: Enrolment) -> Put:
        kept = self._kept.get(record.id)
        expected = kept.sequence if kept else 0
        subject = subjects.enrolment(record.id)
        return Put(subject, self._seal.sign(subject, record.to_bytes()), expected=expected)

    def _written(self, record: Enrolment, sequence: int) -> None:
        self._keep(record.id, _Kept(sequence, record.to_bytes()))

    def _take(self, message: Message) -> None:
        cluster = subjects.parse_cluster(message.subject, "enrolment")
        if cluster is None:
            return
        if REMOVED_HEADER in message.headers:
            kept = self._kept.get(cluster)
            if kept is not None and kept.sequence <= message.sequence:
                del self._kept[cluster]
            return
        try:
            content = self._seal.opened(message.subject, message.data)
            Enrolment.from_bytes(content)
        except FleetbusError:
            # Somebody else's, and in the way of the next write all the same: what was known before stands.
            before = self._kept.get(cluster)
            self._keep(cluster, _Kept(message.sequence, before.content if before else b""))
            raise
        self._keep(cluster, _Kept(message.sequence, content))

    def _keep(self, cluster: ClusterId, kept: _Kept) -> None:
        before = self._kept.get(cluster)
        if before is not None and before.sequence >= kept.sequence:
            return
        self._kept[cluster] = kept
        if kept.content:
            record = Enrolment.from_bytes(kept.content)
            self._revoked |= {one.nkey: one for one in record.revoked}
            self._known.put_claimed(cluster.name, claimed(record))

    def _member(self, cluster: ClusterId, kept: Member | None) -> Member | None:
        stored = self._known.document((CLUSTER, cluster.name))
        if stored is None or stored.deleting is not None:
            return None
        spec = cluster_spec(stored)
        if spec is None or identified(stored) != cluster:
            raise NotPossible(f"a cluster of another realm has the name `{cluster.name}`")
        if kept is not None and (kept.nkey, kept.uid) == (spec.key, spec.uid):
            return kept
        return Member(nkey=spec.key, uid=spec.uid, joined_at=stored.created_at)


def claimed(record: Enrolment) -> str:
    """Who else claims the name of a record."""
    if not record.quarantined:
        return ""
    last, count = record.quarantined[-1], len(record.quarantined)
    more = f" (and {count - 1} others)" if count > 1 else ""
    return f"the cluster with kube-system {last.uid} and key {last.nkey}{more} claims this name"
