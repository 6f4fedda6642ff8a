"""What all bundles of one pass share, and what the pass over one of them gathers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fleetbus.agent.capabilities.bundles.apply import Done
from fleetbus.agent.capabilities.bundles.claims import Claims
from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, GroupKind, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import ApiKind
from fleetbus.agent.capabilities.bundles.plan import Plan
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.capabilities.bundles import BundleEntry
from fleetbus.schemas.events import Happened


@dataclass(frozen=True, slots=True)
class World:
    """What all bundles of one pass share."""

    kube: Kube
    watches: Watches
    clock: Clock
    claims: Claims
    resources: Mapping[ApiKind, Resource | None]
    """Kinds by apiVersion and kind; None for one that is not served, none at all while it is being asked."""
    by_group: Mapping[GroupKind, Resource]
    not_served: frozenset[GroupKind]
    """Kinds that the cluster was asked for and does not have."""
    defined: frozenset[GroupKind]
    """Kinds whose CustomResourceDefinition is in a bundle."""
    bundle_of: Callable[[str, ObjectKey], str | None]
    may_write: Callable[[str], bool]
    is_halted: Callable[[str], bool]
    may_prune: Callable[[str, int], bool] = lambda id, count: True
    """Whether so many objects of a bundle may be removed, as far as that needs approvals here."""
    observes: bool = False
    """Whether nothing may be written here: a pass then only says what it would do."""


@dataclass(slots=True)
class Pass:
    """What a pass works with, and what it gathers."""

    holding: Holding
    entry: BundleEntry
    objects: Mapping[ObjectKey, DesiredObject]
    planned: Plan = field(default_factory=Plan)
    done: Done = field(default_factory=Done)
    happened: list[Happened] = field(default_factory=list)
    would: Counter[str] = field(default_factory=Counter)
    """What an agent that only observes would do: verb → how many objects."""
    unapproved: int = 0
    """Objects that are to go and stay until approvers have agreed."""
    is_unsure: bool = False
    """Something that a watch does not show is there, or could not be looked at."""
