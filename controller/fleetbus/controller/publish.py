"""What each cluster is told: sections into sets into signed heads, written under the term, only when they changed.

The first change goes out at once, those that come meanwhile together. Nothing is remembered but what DESIRED
and ARTIFACTS hold: a restart computes every set again and publishes those that differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from fleetbus.controller.artifacts import Artifacts, digests_in
from fleetbus.controller.decisions.approvals import Fitting, still_carried, with_one
from fleetbus.controller.fence import Fence
from fleetbus.controller.ports import Capability, Change, ClusterView, View
from fleetbus.controller.server_time import AHEAD, ServerTime
from fleetbus.controller.views import CLUSTER, Known, cluster_spec
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import Artifact, artifact
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.desired import DesiredSet, Head, SectionRef, next_serial
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.signing import Sign
from fleetbus.schemas.streams import DESIRED

VALID = timedelta(days=7)
TOGETHER_S = 0.1
_PASS = "pass"
_REISSUE_EVERY_S = 600.0

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one cluster shall be told: the set, and everything that it names and the controller has made here."""

    set: Artifact
    contents: tuple[Artifact, ...]


def wanted_set(
    cluster: ClusterView, view: View, capabilities: Sequence[Capability], now: ServerTime
) -> Wanted:
    """Pure but for the time: the capabilities' sections and retirements of one cluster as artifacts."""
    at = now.now()
    sections: dict[str, SectionRef] = {}
    contents: list[Artifact] = []
    for capability in capabilities:
        section = capability.section(cluster, view, at) if capability.section else None
        if section is not None:
            content = artifact(dict(section.content))
            contents.append(content)
            sections[capability.name] = SectionRef(version=section.version, digest=content.name)
    retired = [
        one
        for capability in capabilities
        if capability.retired
        for one in capability.retired(cluster, view, at)
    ]
    retired.sort(key=lambda one: (one.capability, one.id))
    whole = DesiredSet(sections=sections, retired=tuple(retired))
    return Wanted(artifact(whole.as_json()), tuple(contents))


def uid_of(cluster: ClusterView) -> str:
    """The cluster's identity: what the document says, else what its agent has signed; empty when unknown."""
    spec = cluster_spec(cluster.document)
    session = cluster.states.get("session")
    return (spec.uid if spec else "") or (session.uid if session else "")


def _is_behind(head: Head, cluster: ClusterView) -> bool:
    """Whether the agent has accepted a newer one: a controller that starts was shown an earlier word of ours."""
    accepted = cluster.facts.accepted if cluster.facts else (0, 0)
    return accepted[0] == head.epoch and accepted[1] > head.serial


class Publisher:
    """Publishes heads for the length of one term."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        fence: Fence,
        artifacts: Artifacts,
        capabilities: Sequence[Capability],
        sign: Sign,
        time: ServerTime,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._fence = fence
        self._artifacts = artifacts
        self._capabilities = capabilities
        self._sign = sign
        self._time = time
        self._writing = asyncio.Lock()
        self._dirty: set[str] = set()
        self._members_changed = True
        self._has_told = False
        self._passes: Worklist[str] = Worklist(clock, self._pass, at_once=1, spacing_s=self._spacing_s)

    def changed(self, change: Change) -> None:
        """A cluster's own report may change what that cluster is told; a document or a status, what any is."""
        if change.what == "presence" or change.aspect in {
            "outbox",
            "published",
            "published-commands",
            "refused",
        }:
            return
        if change.what == "document" and change.kind == CLUSTER:
            self._members_changed = True
        if change.what == "state":
            self._dirty.add(change.name)
        else:
            self._dirty.update(view.id.name for view in self._known.clusters())
        self._passes.add(_PASS)

    def publish_all(self) -> None:
        self._dirty.update(view.id.name for view in self._known.clusters())
        self._passes.add(_PASS)

    async def run(self) -> None:
        """Publish what differs, and then whatever changes, until cancelled."""
        self.publish_all()
        await self._passes.run()

    async def reissue(self) -> None:
        """Heads past half of their validity go out again, for ever."""
        while True:
            await self._clock.sleep(self._clock.jitter(_REISSUE_EVERY_S))
            self.publish_all()

    def roots(self) -> Iterable[str]:
        """Digests that must stay stored: what heads and statuses name."""
        found = {head.set for head in self._known.heads.values()}
        for cluster in self._known.clusters():
            # What a cluster goes on with while approvals are missing, no head names any more.
            protection = cluster.facts.protection if cluster.facts else None
            found |= digests_in(protection.set if protection is not None else "")
        for status in self._known.view().statuses.values():
            found |= digests_in(status.details)
        return found

    async def carry(self, one: Fitting) -> None:
        """Have the cluster's head carry an approval of the set that it names.

        Raises NotPossible when it names another by now, SequenceConflict, BusUnavailable.
        """
        async with self._writing:
            head = self._known.heads.get(one.cluster.id)
            if head is None or head.set != one.approval.digest:
                raise NotPossible(
                    f"cluster {one.cluster.id.name} is told something else by now",
                    remedy="see `fleetbus approve`",
                )
            approvals = with_one(head.approvals, one.envelope, self._time.to_sign())
            new = self._head(one.cluster, head.set).model_copy(update={"approvals": approvals})
            await self._fence.put([self._message(one.cluster.id, new)])
            self._known.put_head(one.cluster.id, new)

    async def forget(self, cluster: subjects.ClusterId) -> None:
        """Take a removed cluster's mailboxes away."""
        await self._bus.purge(DESIRED.name, subjects.desired(cluster))
        await self._bus.purge(DESIRED.name, subjects.command(cluster))
        self._known.put_head(cluster, None)
        self._known.put_commands(cluster, None)

    async def _purge_orphans(self) -> None:
        """Mailboxes of clusters that left, or moved to another realm; not those whose document is unreadable."""
        if not self._members_changed:
            return
        self._members_changed = False
        try:
            present = {view.id for view in self._known.clusters()}
            for cluster in sorted({*self._known.heads, *self._known.command_lists} - present, key=str):
                if self._known.document((CLUSTER, cluster.name)) and not self._known.cluster(cluster.name):
                    continue
                _log.info("a removed cluster's mailboxes are taken away", cluster=str(cluster))
                await self.forget(cluster)
        except BaseException:
            self._members_changed = True
            raise

    def _spacing_s(self) -> float:
        """After a pass that told nobody anything only its own cost counts: what comes next is a first change."""
        return max(TOGETHER_S if self._has_told else 0.0, len(self._known.heads) * 0.0005)

    async def _pass(self, _: str) -> float | None:
        await self._purge_orphans()
        names, self._dirty = self._dirty, set()
        try:
            async with self._writing:
                self._has_told = await self._publish(sorted(names))
        except BaseException:
            self._dirty |= names
            raise
        return None

    async def _publish(self, names: Sequence[str]) -> bool:
        """Whether anything differed."""
        view = self._known.view()
        heads: list[tuple[subjects.ClusterId, Head]] = []
        contents: dict[str, Artifact] = {}
        for name in names:
            cluster = view.clusters.get(name)
            if cluster is None or cluster.document.deleting or not uid_of(cluster):
                continue
            try:
                wanted = wanted_set(cluster, view, self._capabilities, self._time)
            except (
                Exception
            ) as error:  # The edge of the capabilities: one cluster must not hold up the others.
                _log.error("no set", cluster=name, error=type(error).__name__, raised_at=raised_at(error))
                continue
            if not self._is_told(cluster, wanted.set.name):
                heads.append((cluster.id, self._head(cluster, wanted.set.name)))
                contents.update((one.name, one) for one in (*wanted.contents, wanted.set))
        if not heads:
            return False
        await self._artifacts.store(contents.values())
        await self._fence.put([self._message(place, head) for place, head in heads])
        for place, head in heads:
            self._known.put_head(place, head)
        _log.info("published", clusters=len(heads), artifacts=len(contents), first=str(heads[0][0]))
        return True

    def _is_told(self, cluster: ClusterView, set_name: str) -> bool:
        head, now = self._known.heads.get(cluster.id), self._time.to_sign()
        return (
            head is not None
            and ("desired", cluster.id) not in self._known.displaced
            and not _is_behind(head, cluster)
            and head.set == set_name
            and head.cluster == uid_of(cluster)
            and head.epoch == self._fence.term.epoch
            and now - VALID / 2 < head.issued_at <= now + AHEAD
        )

    def _head(self, cluster: ClusterView, set_name: str) -> Head:
        last = self._known.heads.get(cluster.id)
        now = self._time.to_sign()
        return Head(
            fleet=self._known.fleet,
            cluster=uid_of(cluster),
            epoch=self._fence.term.epoch,
            serial=next_serial(last.serial if last else 0, now),
            issued_at=now,
            not_after=now + VALID,
            set=set_name,
            approvals=still_carried(last.approvals, now) if last and last.set == set_name else None,
        )

    def _message(self, cluster: subjects.ClusterId, head: Head) -> tuple[str, bytes]:
        subject = subjects.desired(cluster)
        return subject, self._sign(subject, canonical(head.as_json()))
