"""What operators want, kept beside the fleet and without its help: what all is to look like in the end. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fleetbus.schemas.documents import API_VERSION
from tests.simulation.fleet import APPS, CLUSTERS, SHARED
from tests.simulation.git import ADDRESS, Objects
from tests.simulation.invariants import Place, plural

ENVIRONMENTS = ("dev", "prod")
SOURCE = "repo"
FOLDERS = ("small", "spaces", "kinds", "big", "clash")
"""What may be in the repository: each folder draws its objects from a pool of its own."""
CLASHING = "theirs"
"""A ConfigMap of folder `clash`, which somebody else has in one cluster."""
CLASH_CLUSTER = "c-lab"
FOREIGN_SECRET = "their-secret"

READY = ("True", "Ready")

Object = dict[str, Any]


def _map(name: str, namespace: str = APPS) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def _widget(name: str) -> Object:
    metadata = {"name": name, "namespace": APPS}
    return {"apiVersion": "sim.example/v1", "kind": "Widget", "metadata": metadata}


_DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.sim.example"},
    "spec": {
        "group": "sim.example",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True}],
    },
}
_SPACE: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}}

POOLS: dict[str, tuple[Object, ...]] = {
    "small": tuple(_map(f"small-{number}") for number in range(4)),
    "spaces": (_SPACE, _map("inner-0", "space"), _map("inner-1", "space"), _map("outer")),
    "kinds": (_DEFINITION, _widget("w-0"), _widget("w-1"), _map("kinds-0")),
    "big": tuple(_map(f"big-{number}") for number in range(14)),
    "clash": (_map(CLASHING), _map("beside")),
}
_FIRST = {"spaces": _SPACE, "kinds": _DEFINITION}
"""What the others of a pool cannot be without."""


def place_of(one: Object) -> Place:
    group = str(one["apiVersion"]).rpartition("/")[0]
    metadata = one["metadata"]
    return (group, plural(one["kind"])), (metadata.get("namespace", ""), metadata["name"])


def filled(one: Object, value: int) -> Object:
    """An object of a pool with some content; definitions and namespaces have none to vary."""
    if one["kind"] in ("ConfigMap", "Widget"):
        field_ = "data" if one["kind"] == "ConfigMap" else "spec"
        return {**one, field_: {"value": str(value)}}
    return one


def complete(folder: str, objects: Objects) -> Objects:
    """With what the others need."""
    first = _FIRST.get(folder)
    if first is None or not objects or first in objects:
        return objects
    return (first, *objects)


@dataclass(slots=True)
class Bundle:
    """A bundle as it was written last. `kept`: clusters where objects may stay that nobody wants any more."""

    name: str
    folder: str
    environments: tuple[str, ...]
    untarget: str = "Remove"

    def document(self) -> Object:
        expression = {"key": "env", "operator": "In", "values": list(self.environments)}
        spec = {
            "source": SOURCE,
            "path": self.folder,
            "placement": {"selector": {"matchExpressions": [expression]}},
            "untarget": self.untarget,
        }
        return document("Bundle", self.name, spec)


@dataclass(slots=True)
class Binding:
    name: str
    target: str
    environments: tuple[str, ...]
    shared: bool = False
    revoked: bool = False

    def document(self) -> Object:
        expression = {"key": "env", "operator": "In", "values": list(self.environments)}
        spec = {
            "vault": {"shared": SHARED} if self.shared else {"path": "app"},
            "placement": {"selector": {"matchExpressions": [expression]}},
            "target": {"namespace": APPS, "name": self.target},
            "refresh": "10s",
        }
        return document("SecretBinding", self.name, spec)


def document(kind: str, name: str, spec: Object, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def source_document() -> Object:
    return document("Source", SOURCE, {"git": {"url": ADDRESS, "ref": {"branch": "main"}}, "interval": "20s"})


@dataclass(slots=True)
class Wishes:
    """The documents, the repository's newest commit and Vault's newest values, as their writers know them."""

    environment: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CLUSTERS, "dev"))
    tree: dict[str, Objects] = field(default_factory=dict)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    kept: set[tuple[str, str]] = field(default_factory=set)
    """(cluster, folder) where a bundle was let go with its objects kept."""
    loosed: set[tuple[str, Place]] = field(default_factory=set)
    """Objects whose label somebody took off: when nobody wants them any more, they may stay as his."""
    gone: set[str] = field(default_factory=set)
    """Targets of bindings that were deleted."""
    values: dict[str, str] = field(default_factory=dict)
    """Vault path → newest value."""
    commands: dict[str, str] = field(default_factory=dict)
    """Marker in a command's message → what it was asked to do."""

    def placed(self, one: Bundle | Binding) -> list[str]:
        return [name for name in CLUSTERS if self.environment[name] in one.environments]

    def objects(self, cluster: str) -> dict[Place, Object]:
        """What bundles want to be in a cluster."""
        found: dict[Place, Object] = {}
        for bundle in self.bundles.values():
            if cluster in self.placed(bundle):
                for one in self.tree.get(bundle.folder, ()):
                    if not self.is_theirs(cluster, one):
                        found[place_of(dict(one))] = dict(one)
        return found

    def is_theirs(self, cluster: str, one: Any) -> bool:
        return cluster == CLASH_CLUSTER and one["metadata"]["name"] == CLASHING

    def absent(self, cluster: str) -> Iterator[Place]:
        """Objects of the pools that must not be there."""
        wanted = self.objects(cluster)
        for folder, pool in POOLS.items():
            if (cluster, folder) in self.kept or self._waits_for_clash(cluster, folder):
                continue
            yield from (
                place
                for one in pool
                if (place := place_of(one)) not in wanted
                and (cluster, place) not in self.loosed
                and not self.is_theirs(cluster, one)
            )

    def _waits_for_clash(self, cluster: str, folder: str) -> bool:
        """Nothing is pruned before everything is applied, and what is theirs cannot be."""
        objects = self.tree.get(folder, ())
        return folder == "clash" and any(self.is_theirs(cluster, one) for one in objects)

    def ready(self) -> dict[tuple[str, str], frozenset[tuple[str, str]]]:
        """Document → what status and reason of its Ready may be in the end."""
        return {key: frozenset(may) for key, may in self._ready().items()}

    def _ready(self) -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
        expected: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {("Source", SOURCE): (READY,)}
        expected |= {("Bundle", name): self._bundle(one) for name, one in self.bundles.items()}
        expected |= {("SecretBinding", name): self._binding(one) for name, one in self.bindings.items()}
        for name in CLUSTERS:
            hurt = any(self._clashes(one) and name in self.placed(one) for one in self.bundles.values())
            bad = hurt and name == CLASH_CLUSTER
            # A bundle that could never be rendered has come nowhere yet.
            waits = any(
                one.folder not in self.tree and name in self.placed(one) for one in self.bundles.values()
            )
            may_wait = (("Unknown", "BundlesProgressing"),) if waits else ()
            expected[("Cluster", name)] = (("False", "BundleNotReady") if bad else READY, *may_wait)
        return expected

    def _clashes(self, one: Bundle) -> bool:
        objects = self.tree.get(one.folder, ())
        return CLASH_CLUSTER in self.placed(one) and any(
            self.is_theirs(CLASH_CLUSTER, each) for each in objects
        )

    def _bundle(self, one: Bundle) -> tuple[tuple[str, str], ...]:
        if self._clashes(one):
            return (("False", "ApplyConflict"),)
        placed = READY if self.placed(one) else ("Unknown", "NoClusterMatches")
        # A folder that is not there is wrong, but for a bundle that was let go with it at this very commit.
        return (placed,) if one.folder in self.tree else (placed, ("False", "PathMissing"))

    def _binding(self, one: Binding) -> tuple[tuple[str, str], ...]:
        if one.revoked:
            return (("False", "SecretRevoked"),)
        placed = self.placed(one)
        if not placed:
            return (("Unknown", "NoClusterBound"),)
        if one.target == FOREIGN_SECRET and CLASH_CLUSTER in placed:
            return (("False", "SecretNotOurs"),)
        return (READY,)

    def secrets(self, cluster: str) -> dict[str, str | None]:
        """Name of a bound Secret → its value; None where there must be none."""
        found: dict[str, str | None] = dict.fromkeys(self.gone)
        if cluster == CLASH_CLUSTER:
            found.pop(FOREIGN_SECRET, None)
        for one in self.bindings.values():
            if one.target == FOREIGN_SECRET and cluster == CLASH_CLUSTER:
                continue
            path = f"shared/{SHARED}" if one.shared else f"main/{cluster}/app"
            here = cluster in self.placed(one) and not one.revoked
            found[one.target] = self.values[path] if here else None
        return found
