"""What the agent's sides and its capabilities agree on. Capabilities return; the sides act.

A capability is handed what it is told and ports; it returns bodies of its aspects and what happened. It
publishes nothing, reports nothing, and knows no other capability.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fleetbus.runtime.ports import Clock, Kube, Vault
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.events import Happened
from fleetbus.schemas.subjects import ClusterId


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose agent this is. `uid` is that of the namespace kube-system."""

    fleet: str
    cluster: ClusterId
    uid: str


class Keep(Protocol):
    """What must outlive this process, in the cluster's one AgentState object; kept before it is acted on.

    Only plain JSON, nothing secret. Raises KubeUnavailable, KubeConflict.
    """

    def kept(self, key: str) -> Mapping[str, Any] | None: ...

    async def keep(self, values: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write several keys in one request; None forgets a key."""
        ...


class Artifacts(Protocol):
    async def fetch(self, digest: str) -> bytes:
        """The content with this digest, checked. NotFound, BusUnavailable, MessageMalformed."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    identity: Identity
    kube: Kube
    vault: Vault | None
    clock: Clock
    keep: Keep
    artifacts: Artifacts
    reported: Callable[[str], Mapping[str, Any]] = lambda aspect: {}
    """The body that an aspect was reported with last, also by an earlier process."""
    observes: Callable[[], bool] = lambda: False
    """Whether the agent was given no right to write here: it then says what it would do, and tries nothing."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a capability is told now.

    `content` is its section's (None when the set has no such section: nothing is to change, nothing is pruned).
    `halts()` is the newest word on what must not be touched (`*` for everything): asked before every write.
    `superseded()` turns true once something newer has been accepted: stop between two writes and return.
    `may_prune(id, count)`: whether so many of the objects that this id owns may be removed; asked before the first.
    """

    content: Any | None
    retired: Sequence[Retired] = ()
    halts: Callable[[], tuple[str, ...]] = tuple
    superseded: Callable[[], bool] = lambda: False
    may_prune: Callable[[str, int], bool] = lambda id, count: True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a capability found and did. `aspects`: whole bodies, by aspect; one that is missing stays as it was.

    `happened`, by aspect: only what the bodies do not show, such as a corrected drift.
    """

    aspects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    happened: Mapping[str, Sequence[Happened]] = field(default_factory=dict)
    again_in_s: float | None = None


class Worker(Protocol):
    """A capability at work in one agent: one life from the Lease's acquisition to its loss."""

    async def reconcile(self, told: Told) -> Outcome:
        """Observe, plan, apply; any time, any number of times. Never two at once."""
        ...

    async def changed(self) -> None:
        """Returns when the world may differ from what `reconcile` saw last; cancelled at will."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """A right that a part of the agent needs: roles and the guard are made from these.

    `home`: in the agent's own namespace only. `names`: of objects so named only; one may end in `*`. `grants`: it
    gives rights to others, or takes an API's place, and is had with profile `full` only.
    """

    api_groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    home: bool = False
    grants: bool = False

    def only(self, verbs: Collection[str]) -> Rule:
        return replace(self, verbs=tuple(verb for verb in self.verbs if verb in verbs))


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of the agent's catalogue.

    `transitions(aspect, old body, new body)` is pure: the events that a changed body tells; old is {} at first.
    """

    name: str
    section_version: int
    aspects: tuple[str, ...]
    needs: tuple[Rule, ...]
    start: Callable[[Ports], Worker]
    transitions: Callable[[str, Mapping[str, Any], Mapping[str, Any]], Sequence[Happened]]
    names: Callable[[Any], Sequence[str]] = lambda content: ()
    """Digests of the artifacts that a section's content names: fetched while the head is being kept."""
    withdraws: Callable[[Any, Any], Any] = lambda accepted, told: accepted
    """The accepted content with what a newer one takes away that nobody has approved; pure. What only takes access
    away need not wait for approvals."""
