"""Bundles: objects from a source's folder, on the clusters that their placement picks."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

from pydantic import Field

from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.desired import Untarget
from fleetbus.schemas.documents import Document, Name, Placement, RelativePath
from fleetbus.schemas.models import Count, Moment, Received, Written

CAPABILITY = "bundles"
SECTION_VERSION = 1
ASPECT_COUNT = 8
ASPECTS = tuple(f"{CAPABILITY}-{number}" for number in range(ASPECT_COUNT))

# conditions of a bundle document
SOURCE_READY = "SourceReady"
RENDERED = "Rendered"
PLACED = "Placed"
APPLIED = "Applied"
HEALTHY = "Healthy"
CONDITIONS = (SOURCE_READY, RENDERED, PLACED, APPLIED, HEALTHY)

REASON_SOURCE_READY = "SourceRead"
REASON_SOURCE_MISSING = "SourceMissing"
REASON_SOURCE_NOT_READY = "SourceNotReady"
REASON_RENDERED = "Rendered"
REASON_RENDER_FAILED = "RenderFailed"
REASON_PATH_MISSING = "PathMissing"
REASON_PLACED = "Placed"
REASON_NO_CLUSTER = "NoClusterMatches"
REASON_PLACEMENT_SHRANK = "PlacementShrank"
REASON_APPLIED = "Applied"
REASON_PROGRESSING = "Progressing"
REASON_HEALTHY = "Healthy"
REASON_CLUSTERS_AWAY = "ClustersAway"
REASON_CHANGE_NOT_APPROVED = "ChangeNotApproved"
REASON_DELETING = "Deleting"
REASON_DELETED = "BundleDeleted"
REASON_RELEASED = "PruneReleased"

# all bundles of one cluster: a condition of its document
CLUSTER_READY = "BundlesReady"

REASON_CLUSTER_READY = "BundlesReady"
REASON_CLUSTER_NOT_READY = "BundleNotReady"
REASON_CLUSTER_PROGRESSING = "BundlesProgressing"

# reasons of one bundle in one cluster
REASON_PRUNE_HELD = "PruneHeld"
REASON_PRUNE_NOT_APPROVED = "PruneNotApproved"
REASON_APPLY_REFUSED = "ApplyRefused"
REASON_APPLY_CONFLICT = "ApplyConflict"
REASON_OWNED_BY_OTHER = "OwnedByOtherBundle"
REASON_EXISTS = "ExistsUnowned"
REASON_CRD_WAITING = "CrdNotEstablished"
REASON_NAMESPACE_WAITING = "NamespaceTerminating"
REASON_WORKLOAD_FAILING = "WorkloadFailing"
REASON_WORKLOAD_PROGRESSING = "WorkloadProgressing"
REASON_CONTESTED = "Contested"
REASON_ARTIFACT_MISSING = "ArtifactMissing"
REASON_KIND_UNKNOWN = "KindUnknown"
REASON_HALTED = "Halted"
REASON_OBSERVE_ONLY = "ObserveOnly"
REASON_CLUSTER_UNREACHABLE = "ApiserverUnreachable"
REASON_REMOVED = "Removed"
REASON_KEPT = "KeptWithoutBundle"
REASON_PRUNED = "Pruned"
REASON_DRIFT_CORRECTED = "DriftCorrected"

EVENT_RENDERED = "bundle.rendered"
EVENT_RENDER_FAILED = "bundle.render-failed"
EVENT_PLACED = "bundle.placed"
EVENT_HELD = "bundle.held"
EVENT_RELEASED = "bundle.released"
EVENT_APPLIED = "bundle.applied"
EVENT_APPLY_FAILED = "bundle.apply-failed"
EVENT_HEALTHY = "bundle.healthy"
EVENT_FAILING = "bundle.failing"
EVENT_PRUNED = "bundle.pruned"
EVENT_DRIFT_CORRECTED = "bundle.drift-corrected"
EVENT_CONTESTED = "bundle.contested"
EVENT_REMOVED = "bundle.removed"
EVENT_DELETED = "bundle.deleted"

CLUSTER_EVENTS = frozenset(
    {
        EVENT_APPLIED,
        EVENT_APPLY_FAILED,
        EVENT_HELD,
        EVENT_HEALTHY,
        EVENT_FAILING,
        EVENT_PRUNED,
        EVENT_DRIFT_CORRECTED,
        EVENT_CONTESTED,
        EVENT_REMOVED,
    }
)
"""What clusters tell themselves; the others are the controller's."""

FIELD_MANAGER = "fleetbus"
PRUNE_ANNOTATION = "fleetbus.dev/prune"
BUNDLE_ANNOTATION = "fleetbus.dev/bundle"
ORDER_ANNOTATION = "fleetbus.dev/order"
ARGO_WAVE_ANNOTATION = "argocd.argoproj.io/sync-wave"

MAX_FAILING_OBJECTS = 16

Adopt = Literal["Never", "IfUnowned", "Always"]


def prune_limit(recorded: int) -> int:
    """How many objects of an apply set may go without asking: max(5, 20 %), but never all of them."""
    return min(max(5, recorded // 5), max(recorded - 1, 0))


def aspect_of(bundle_id: str) -> str:
    """The aspect in which a bundle's state is reported: by hash of its id."""
    return ASPECTS[hashlib.sha256(bundle_id.encode()).digest()[0] % ASPECT_COUNT]


class BundleSpec(Written):
    source: Name = Field(description="Name of the Source.")
    path: RelativePath = Field(
        default=".", description="Folder in the source: plain YAML, or a kustomization."
    )
    placement: Placement
    namespace: str = Field(
        default="", description="Namespace of objects that name none. It is not made by this."
    )
    adopt: Adopt = Field(
        default="IfUnowned",
        description="An object that exists already: refuse it, take it if nobody owns it, take it anyway.",
    )
    untarget: Untarget = Field(
        default="Remove", description="What becomes of the objects in a cluster that is no longer placed."
    )
    prune: bool = Field(default=True, description="Whether objects that leave the source leave the clusters.")


class Bundle(Document):
    short_names: ClassVar[tuple[str, ...]] = ("bu",)
    plural: ClassVar[str] = "bundles"

    kind: Literal["Bundle"] = "Bundle"
    spec: BundleSpec


class BundleEntry(Received):
    """What one cluster is told about one bundle."""

    id: str
    name: str
    generation: int
    revision: str
    artifact: str
    objects: int
    adopt: Adopt = "IfUnowned"
    prune: bool = True
    released: int = 0
    """A held prune that an operator has let go for exactly this artifact: as many objects as he typed."""


class BundlesSection(Received):
    """The section's content. Artifacts hold `RenderedObjects`."""

    bundles: tuple[BundleEntry, ...] = ()


class RenderedObjects(Received):
    """Content of a bundle's artifact: canonical objects, sorted by group, kind, namespace, name."""

    objects: tuple[dict[str, object], ...] = ()


class ObjectState(Received):
    """An object that is not as it should be. `object` is `group/Kind namespace/name`."""

    object: str
    reason: str
    message: str = ""


class BundleState(Received):
    """One bundle in one cluster. `conditions`: Applied, Healthy, Ready."""

    id: str
    name: str
    generation: int = 0
    revision: str = ""
    artifact: str = ""
    """What the cluster was told, whether or not it is applied yet."""
    applied_artifact: str = ""
    """The artifact that was applied in full last."""
    objects: Count = 0
    ready: Count = 0
    drifted: Count = 0
    held_prunes: Count = 0
    conditions: tuple[Condition, ...] = ()
    failing: tuple[ObjectState, ...] = ()
    removed: bool = False
    """True: its retirement is done; the receipt for the tombstone."""
    pruned: Count = 0
    """How many objects the retirement took away."""


class BundlesState(Received):
    """Body of the aspects `bundles-0` … `bundles-7`."""

    bundles: tuple[BundleState, ...] = ()


class ClusterSummary(Received):
    """One cluster in a bundle's status."""

    cluster: str
    ready: str = "Unknown"
    reason: str = ""
    message: str = ""
    revision: str = ""
    objects: int = 0
    ready_objects: int = 0
    updated: bool = False
    since: Moment | None = None


class Exclusion(Received):
    """Why a cluster is out: the first clause that does not hold, and what stood there."""

    cluster: str
    clause: str
    message: str


class BundleDetails(Received):
    """Status details of a bundle."""

    revision: str = ""
    """The wanted revision: `ref@sha1:commit`."""
    artifact: str = ""
    objects: int = 0
    rendered_from: str = ""
    """Digest of the input (commit, path, namespace) that `artifact` was rendered from."""
    placed: tuple[str, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    held_clusters: tuple[str, ...] = ()
    """Clusters that placement would lose and that are held, with the objects they have."""
    clusters: tuple[ClusterSummary, ...] = ()
    """Those that are not ready first; at most MAX_LISTED."""
    ready: int = 0
    updated: int = 0
    drifted: int = 0
    held_prunes: int = 0
    """The most objects that one cluster holds back from pruning: the count to type."""
    artifact_revision: str = ""
    """The revision at which `artifact` came to be; later ones rendered to the same."""
    emptied_at: Moment | None = None
    """Since when nothing is left in the source of a bundle that had objects."""
    shrunk_at: Moment | None = None
    """Since when a loss of clusters is held."""
    held_objects: int = 0
    """Objects on the held clusters: the count to type."""
    retiring: tuple[str, ...] = ()
    """Clusters that had the bundle, are not to have it any more, and whose receipt is not in."""
