"""What is known now: documents, statuses, clusters. One mutable memory, given out as immutable snapshots.

A snapshot copies only the dicts that moved since the last one (a thousand entries: some 10 microseconds).
Everything in here is rebuilt from the bus at each start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fleetbus.controller.ports import Change, ClusterView, Key, Presence, View
from fleetbus.controller.worklist import Pulse
from fleetbus.schemas.capabilities.clusters import ClusterSpec
from fleetbus.schemas.connections import Connection
from fleetbus.schemas.desired import CommandList, Head
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.states import Facts, Results, Session, State
from fleetbus.schemas.subjects import ClusterId

Listener = Callable[[Change], None]
CLUSTER = "Cluster"
FLEET_STATUS: Key = ("Fleet", "fleet")
"""A status without a document, whose outbox holds what happens to the fleet as a whole."""


def cluster_spec(stored: Stored) -> ClusterSpec | None:
    """A Cluster document's spec; None when it was stored by a version that this one cannot read."""
    try:
        return ClusterSpec.model_validate(stored.spec)
    except ValueError:
        return None


def identified(stored: Stored) -> ClusterId | None:
    spec = cluster_spec(stored)
    try:
        return ClusterId(spec.realm, stored.name) if spec else None
    except FleetbusError:
        return None


class Known:
    """The memory. Every setter ignores what is not newer than what it has, and tells the listeners."""

    def __init__(self, fleet: str, version: int = 0) -> None:
        self.fleet = fleet
        self.changed = Pulse()
        self.asked: set[Key] = set()
        self.heads: dict[ClusterId, Head] = {}
        self.command_lists: dict[ClusterId, CommandList] = {}
        self.displaced: set[tuple[str, ClusterId]] = set()
        """Mailboxes, by one of subjects.MAILBOXES, that do not hold what was told last."""
        self.listeners: list[Listener] = []
        self.sent: Counter[str] = Counter()
        """Messages that came from each cluster, since somebody counted."""
        self._documents: dict[Key, Stored] = {}
        self._statuses: dict[Key, Status] = {}
        self._clusters: dict[str, ClusterView] = {}
        self._sequences: dict[str, int] = {}
        self._view: View | None = View(fleet, {}, {}, {})
        self._first_version = version
        self._versions: dict[str, int] = {}

    def view(self) -> View:
        """A snapshot; the same object until something moves."""
        if self._view is None:
            self._view = View(self.fleet, dict(self._documents), dict(self._statuses), dict(self._clusters))
        return self._view

    def version(self, kind: str) -> int:
        """Moves with whatever shows in a list of this kind."""
        return self._first_version + self._versions.get(kind, 0)

    def sequence(self, subject: str) -> int:
        """The sequence of the value that is known of a subject; 0 for none."""
        return self._sequences.get(subject, 0)

    def newer(self, subject: str, sequence: int) -> bool:
        """Whether `sequence` is news for this subject; if so it is remembered."""
        if sequence <= self._sequences.get(subject, 0):
            return False
        self._sequences[subject] = sequence
        return True

    def forget(self, subject: str) -> None:
        self._sequences.pop(subject, None)

    # documents and statuses

    def document(self, key: Key) -> Stored | None:
        return self._documents.get(key)

    def status(self, key: Key) -> Status | None:
        return self._statuses.get(key)

    def put_document(self, stored: Stored) -> None:
        new = stored.key not in self._documents
        self._documents[stored.key] = stored
        if new:
            self._documents = dict(sorted(self._documents.items()))
        status = self._statuses.get(stored.key)
        if status is not None and status.uid != stored.uid:
            del self._statuses[stored.key]
        if stored.kind == CLUSTER:
            self._put_cluster(stored)
        self.tell(Change("document", stored.kind, stored.name))

    def drop_document(self, key: Key) -> None:
        if self._documents.pop(key, None) is None:
            return
        if key[0] == CLUSTER:
            self._clusters.pop(key[1], None)
        self.tell(Change("document", *key))

    def put_status(self, status: Status) -> None:
        key = (status.kind, status.name)
        stored = self._documents.get(key)
        if stored is not None and stored.uid != status.uid:
            return
        before = self._statuses.get(key)
        self._statuses[key] = status
        same = before is not None and replaced_outbox(before, status) == status
        self.tell(Change("status", *key, aspect="outbox" if same else ""))

    def drop_status(self, key: Key) -> None:
        if self._statuses.pop(key, None) is not None:
            self.tell(Change("status", *key))

    # clusters

    def cluster(self, name: str) -> ClusterView | None:
        return self._clusters.get(name)

    def clusters(self) -> list[ClusterView]:
        return list(self._clusters.values())

    def put_state(self, name: str, state: State, body: object) -> None:
        """A verified state, its body's model where this side reads it."""
        before = self._clusters.get(name)
        if before is None:
            return
        after = replace(before, states={**before.states, state.aspect: state})
        if isinstance(body, Session):
            after = replace(after, session=body)
        elif isinstance(body, Facts):
            after = replace(after, facts=body)
        elif isinstance(body, Results):
            after = replace(after, results=body)
        self._put_view(after, Change("state", CLUSTER, name, state.aspect))

    def put_head(self, cluster: ClusterId, head: Head | None) -> None:
        """What was published last; None when its mailbox was purged."""
        self.displaced.discard(("desired", cluster))
        if head is not None:
            self.heads[cluster] = head
        else:
            self.heads.pop(cluster, None)
        before = self._clusters.get(cluster.name)
        if before is not None and before.id == cluster:
            self._put_view(self._with_mailboxes(before), Change("state", CLUSTER, cluster.name, "published"))

    def put_commands(self, cluster: ClusterId, commands: CommandList | None) -> None:
        self.displaced.discard(("command", cluster))
        if commands is not None:
            self.command_lists[cluster] = commands
        else:
            self.command_lists.pop(cluster, None)
        before = self._clusters.get(cluster.name)
        if before is not None and before.id == cluster:
            change = Change("state", CLUSTER, cluster.name, "published-commands")
            self._put_view(self._with_mailboxes(before), change)

    def put_displaced(self, which: str, cluster: ClusterId) -> None:
        """Somebody else wrote over a mailbox, or took away what was in it."""
        self.displaced.add((which, cluster))
        before = self._clusters.get(cluster.name)
        if before is not None and before.id == cluster:
            self.tell(Change("state", CLUSTER, cluster.name, f"displaced-{which}"))

    def put_refused(self, name: str, sentence: str) -> None:
        before = self._clusters.get(name)
        if before is not None and before.refused != sentence:
            self._put_view(replace(before, refused=sentence), Change("state", CLUSTER, name, "refused"))

    def put_claimed(self, name: str, sentence: str) -> None:
        """Another cluster claims the name, or nobody does any more."""
        before = self._clusters.get(name)
        if before is not None and before.claimed != sentence:
            self._put_view(replace(before, claimed=sentence), Change("state", CLUSTER, name, "claimed"))

    def put_seen(self, name: str, at: datetime) -> None:
        """A heartbeat came."""
        self._put_quietly(name, last_seen_at=at)

    def put_connections(self, name: str, connections: Sequence[Connection]) -> None:
        """Those of a cluster's key, the oldest first."""
        before = self._clusters.get(name)
        newest = connections[-1] if connections else None
        if before is None or (len(connections), newest) == (before.connections, before.connection):
            return
        self._put_quietly(name, connections=len(connections), connection=newest)

    def put_presence(self, name: str, presence: Presence) -> None:
        before = self._clusters.get(name)
        if before is not None and before.presence != presence:
            self._put_view(replace(before, presence=presence), Change("presence", CLUSTER, name))

    def tell(self, change: Change) -> None:
        self._view = None
        for kind in {change.kind, CLUSTER} if change.what in ("state", "presence") else {change.kind}:
            self._versions[kind] = self._versions.get(kind, 0) + 1
        for listener in self.listeners:
            listener(change)
        self.changed.fire()

    def _put_cluster(self, stored: Stored) -> None:
        identifier = identified(stored)
        before = self._clusters.get(stored.name)
        if identifier is None:
            self._clusters.pop(stored.name, None)
        elif before is None or before.document.uid != stored.uid or before.id != identifier:
            self._clusters[stored.name] = self._with_mailboxes(ClusterView(identifier, stored))
        else:
            self._clusters[stored.name] = replace(before, document=stored)

    def _with_mailboxes(self, view: ClusterView) -> ClusterView:
        head = self.heads.get(view.id)
        return replace(
            view,
            published=(head.epoch, head.serial) if head else (0, 0),
            published_set=head.set if head else "",
            commands=self.command_lists.get(view.id),
        )

    def _put_quietly(self, name: str, **fields: Any) -> None:
        """What only shows, and of which nobody is told."""
        before = self._clusters.get(name)
        if before is not None:
            self._clusters[name] = replace(before, **fields)
            self._view = None

    def _put_view(self, view: ClusterView, change: Change) -> None:
        self._clusters[view.id.name] = view
        self.tell(change)


def replaced_outbox(status: Status, by: Status) -> Status:
    """`status` with the other's outbox, and its count of writes: for comparing everything else."""
    return status.model_copy(update={"outbox": by.outbox, "serial": by.serial})
