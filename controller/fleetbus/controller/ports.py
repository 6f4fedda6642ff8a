"""What the controller's sides and its capabilities agree on. Capabilities return; the sides act.

`reconcile` may use the ports that its capability declares; `section`, `retired`, `readiness` and `transitions`
are pure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fleetbus.schemas.artifacts import Artifact
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.connections import Connection
from fleetbus.schemas.desired import CommandList, Retired
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.events import Happened
from fleetbus.schemas.states import Facts, Results, Session, State
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    # Not at run time: what decides imports this module, and must not reach a clock.
    from fleetbus.runtime.clock import Clock

Key = tuple[str, str]
"""(kind, name) of a document."""


Link = Literal["unobserved", "connected", "disconnected", "flapping"]
"""Whether the bus's servers have a connection of a cluster's key; `unobserved` when none of them has said."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a cluster is there, damped. Servers and heartbeats tell it unsigned: nothing but what is shown follows.

    `responsive`: its heartbeats come; None while the first is awaited. `crowded`: more connections have its key than
    its agent can need. `left`: why its last connection ended, in the server's words.
    """

    link: Link = "unobserved"
    responsive: bool | None = None
    crowded: bool = False
    left: str = ""
    flooding: bool = False
    """It sends more than an agent can have to say."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster as it is known now. States are verified; a refused one leaves the last good one and `refused`."""

    id: ClusterId
    document: Stored
    session: Session | None = None
    facts: Facts | None = None
    states: Mapping[str, State] = field(default_factory=dict)
    """By aspect; bodies as dicts, in the words of their capability."""
    results: Results | None = None
    commands: CommandList | None = None
    presence: Presence = Presence()
    last_seen_at: datetime | None = None
    """When its last heartbeat came."""
    connections: int = 0
    connection: Connection | None = None
    """The newest of them."""
    published: tuple[int, int] = (0, 0)
    """(epoch, serial) of the head that was published last."""
    published_set: str = ""
    refused: str = ""
    claimed: str = ""
    """Who else claims the name: one sentence that names both; empty for nobody."""

    @property
    def connected(self) -> bool:
        return self.presence.link == "connected"

    @property
    def heard(self) -> bool:
        """Whether what it said last is known to be so now: its heartbeats come."""
        return self.presence.responsive is True and self.presence.link != "disconnected"


@dataclass(frozen=True, slots=True)
class View:
    """Everything that decisions may look at, as values. Deleted documents are in it until they are removed."""

    fleet: str
    documents: Mapping[Key, Stored]
    statuses: Mapping[Key, Status]
    clusters: Mapping[str, ClusterView]
    asked: frozenset[Key] = frozenset()
    """Documents that an operator asked to look at again now: what is outside is read afresh."""

    def of_kind(self, kind: str) -> Iterable[Stored]:
        return (stored for (its_kind, _), stored in sorted(self.documents.items()) if its_kind == kind)


class GroupAdmin(Protocol):
    """The one thing the controller may do in Vault. VaultUnavailable, VaultForbidden, NotFound."""

    async def group_members(self, group: str) -> frozenset[str]:
        """Entity ids. NotFound when its owner has not made the group."""
        ...

    async def set_group_members(self, group: str, entities: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """`work_dir`: a folder for caches, worth nothing after a restart. `credentials_dir`: Git credentials by name.

    `local_sources`: folders of this machine below which a Source may name a repository.
    """

    clock: Clock
    groups: GroupAdmin | None
    work_dir: Path
    credentials_dir: Path | None = None
    local_sources: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Something moved: a document, its status, a cluster's aspect (`name` the cluster), or its presence."""

    what: Literal["document", "status", "state", "presence"]
    kind: str
    name: str
    aspect: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reconcile found. Conditions are merged into the status, `Ready` is summed up by the side.

    `artifacts` are stored before the status that names them. `removable`: every receipt of a tombstone is in.
    `happened`: only what the status does not show; the rest comes from `transitions`.
    """

    conditions: Sequence[Condition] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    happened: Sequence[Happened] = ()
    artifacts: Sequence[Artifact] = ()
    again_in_s: float | None = None
    removable: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What one capability tells one cluster; the content becomes an artifact."""

    version: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Readiness:
    """How many of a capability's documents are placed on a cluster, and ready there.

    `condition` counts for the cluster's Ready; None when only the counts are shown.
    """

    placed: int
    ready: int
    condition: Condition | None = None


Reconcile = Callable[[Stored, View, Ports, datetime], Awaitable[Outcome]]
"""(document, view, ports, now); the document's last status is in the view."""


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of the controller's catalogue.

    `affected(change, view)`: the documents of this kind to reconcile again. `section` and `retired` say what
    one cluster is told, from the documents' last statuses.
    """

    name: str
    kind: str
    reconcile: Reconcile
    transitions: Callable[[Stored, Status | None, Status], Sequence[Happened]]
    affected: Callable[[Change, View], Iterable[Key]]
    section: Callable[[ClusterView, View, datetime], Section | None] | None = None
    retired: Callable[[ClusterView, View, datetime], Sequence[Retired]] | None = None
    readiness: Callable[[ClusterView, View, datetime], Readiness | None] | None = None
    """How ready what this capability has placed on a cluster is there."""
    explain: Callable[[Stored, View, str], Mapping[str, Any]] | None = None
    """Why each cluster is in or out (`api.Explained` as JSON); with a cluster's name, why that one is."""
    release: Callable[[Stored, Status | None, int], Mapping[str, int]] | None = None
    """What `released_prune` is to be once this count was typed; DocumentInvalid when it is not what is held."""
