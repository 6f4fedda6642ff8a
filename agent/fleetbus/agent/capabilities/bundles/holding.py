"""One bundle as the worker holds it between two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleetbus.agent.capabilities.bundles.contest import Contest
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, ObjectKey, parse_objects, scoped
from fleetbus.agent.capabilities.bundles.observe import ApiKind
from fleetbus.agent.capabilities.bundles.ownership import Membership
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundleState
from fleetbus.schemas.desired import Retired


@dataclass(slots=True)
class Holding:
    """A bundle: its apply set, what it is told (nothing, for one that stands nowhere), and its last state.

    `dirty`: something changed since the last pass. `due_at_s`: when to look again at the latest.
    `failures`, `refusals`: passes in a row without an answer, or with an object that was refused.
    `stale`: the record was written by somebody else and must be read again.
    """

    membership: Membership
    entry: BundleEntry | None = None
    retired: Retired | None = None
    objects: dict[ObjectKey, DesiredObject] | None = None
    kinds: frozenset[ApiKind] = frozenset()
    missing: str = ""
    dirty: bool = True
    stale: bool = False
    withheld: bool = False
    due_at_s: float | None = None
    failures: int = 0
    refusals: int = 0
    pruned: int = 0
    contests: dict[ObjectKey, Contest] = field(default_factory=dict)
    state: BundleState | None = None
    _loaded: tuple[str, str] = ("", "")
    _cluster_wide: frozenset[ApiKind] = frozenset()

    @property
    def name(self) -> str:
        if self.entry is not None:
            return self.entry.name
        return self.retired.name if self.retired is not None else self.membership.name

    @property
    def is_loaded(self) -> bool:
        """Whether the objects are those of the artifact that it is told to have."""
        return self.entry is not None and self._loaded == (self.entry.artifact, self.entry.name)

    def is_due(self, now_s: float) -> bool:
        return self.dirty or self.withheld or (self.due_at_s is not None and self.due_at_s <= now_s)

    @contextmanager
    def unfinished(self) -> Iterator[None]:
        """A pass that ends in an error, foreseen or not, is to be made again."""
        try:
            yield
        except BaseException:
            self.dirty = True
            raise

    def tell(self, entry: BundleEntry | None, retired: Retired | None) -> None:
        if (entry, retired) != (self.entry, self.retired):
            self.entry, self.retired, self.dirty = entry, retired, True

    def load(self, content: bytes) -> None:
        """Take the artifact's objects. Raises ObjectInvalid, MessageMalformed."""
        if self.entry is None:
            return
        before = self.objects if self._loaded[1] == self.entry.name else None
        self.objects = parse_objects(content, self.membership.apply_set, self.entry.name, before)
        self.kinds = frozenset((one.api_version, one.key.kind) for one in self.objects.values())
        self._loaded, self._cluster_wide = (self.entry.artifact, self.entry.name), frozenset()

    def scope(self, resources: Mapping[ApiKind, Resource | None]) -> None:
        """Let go of the namespaces that objects of cluster-wide kinds were given."""
        wide = frozenset(
            kind for kind in self.kinds if (one := resources.get(kind)) is not None and not one.namespaced
        )
        if wide != self._cluster_wide and self.objects is not None:
            self._cluster_wide = wide
            self.objects = scoped(self.objects.values(), wide)

    def claims(self, key: ObjectKey) -> bool:
        """Whether an object is this bundle's: recorded, and still wanted or kept."""
        recorded = self.membership.objects.get(key)
        if recorded is None or not recorded.confirmed or self.retired is not None:
            return False
        return self.objects is None or key in self.objects

    def recorded_kinds(self) -> set[ApiKind]:
        """(apiVersion, kind) of all members."""
        return {
            (f"{group}/{version}" if group else version, kind)
            for (group, kind), version in self.membership.kinds().items()
        }
