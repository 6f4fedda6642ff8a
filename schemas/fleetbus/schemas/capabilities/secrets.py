"""Secrets: bindings from Vault to a cluster's Secrets. Values go from Vault to the cluster, nowhere else."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.documents import Document, Duration, Placement, RelativePath
from fleetbus.schemas.models import Moment, Received, Written

CAPABILITY = "secrets"
SECTION_VERSION = 1
ASPECT = "secrets"
ASPECTS = (ASPECT,)
FIELD_MANAGER = "fleetbus-secrets"
BINDING_LABEL = "fleetbus.dev/secret-binding"
VERSION_ANNOTATION = "fleetbus.dev/secret-version"
BINDING_ANNOTATION = "fleetbus.dev/secret-binding-id"
"""The binding's id on its Secret: names may be used again, ids are not."""

VAULT_AUDIENCE = "vault"
SHARED_PREFIX = "shared"
GROUP_PREFIX = "fleetbus-"

BOUND = "Bound"
"""Vault lets the placed clusters read."""
PLACED = "Placed"
SYNCED = "Synced"
CONDITIONS = (BOUND, PLACED, SYNCED)

REASON_BOUND = "Bound"
REASON_GROUP_MISSING = "SharedSecretUnknown"
REASON_VAULT_UNAVAILABLE = "VaultUnavailable"
REASON_ENTITY_MISSING = "VaultEntityMissing"
REASON_PLACED = "SecretPlaced"
REASON_NO_CLUSTER = "NoClusterBound"
REASON_HELD = "SecretPlacementShrank"
REASON_HOLD_RELEASED = "SecretLossReleased"
REASON_SYNCED = "SecretSynced"
REASON_PROGRESSING = "SecretPending"
REASON_FORBIDDEN = "VaultForbidden"
REASON_NOT_FOUND = "SecretNotFound"
REASON_SEALED = "VaultSealed"
REASON_KEY_MISSING = "SecretKeyMissing"
REASON_NOT_OURS = "SecretNotOurs"
REASON_NAMESPACE_MISSING = "NamespaceMissing"
REASON_REFUSED = "SecretRefused"
REASON_OBSERVE_ONLY = "SecretObserveOnly"
REASON_REVOKED = "SecretRevoked"
REASON_REMOVED = "SecretRemoved"
REASON_RELEASED = "SecretReleased"
REASON_FINALIZER = "FinalizerPresent"
REASON_ROTATED = "SecretRotated"
REASON_RESTORED = "SecretRestored"
REASON_DELETING = "BindingDeleting"
REASON_DELETED = "BindingDeleted"
REASON_CLUSTERS_AWAY = "SecretClustersAway"

EVENT_BOUND = "secret.bound"
EVENT_HELD = "secret.held"
EVENT_HOLD_RELEASED = "secret.loss-released"
EVENT_SYNCED = "secret.synced"
EVENT_ROTATED = "secret.rotated"
EVENT_RESTORED = "secret.restored"
EVENT_FAILED = "secret.failed"
EVENT_REVOKED = "secret.revoked"
EVENT_REMOVED = "secret.removed"
EVENT_DELETED = "secret.deleted"

CLUSTER_EVENTS = frozenset(
    {
        EVENT_SYNCED,
        EVENT_ROTATED,
        EVENT_RESTORED,
        EVENT_FAILED,
        EVENT_REVOKED,
        EVENT_REMOVED,
    }
)
"""What clusters tell themselves; the others are the controller's."""


class VaultPath(Written):
    """Where the value is: a `path` below the cluster's own place, or the name of a `shared` secret."""

    path: RelativePath = Field(
        default="", description="Below secret/REALM/CLUSTER/, so that each cluster reads its own."
    )
    shared: str = Field(
        default="",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$",
        description="Below secret/shared/; its owner has made the group with `fleetbus secret share`.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.path) == bool(self.shared):
            raise ValueError("exactly one of path, shared must be given")
        return self


class SecretTarget(Written):
    namespace: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    type: str = "Opaque"


class SecretBindingSpec(Written):
    vault: VaultPath
    placement: Placement
    target: SecretTarget
    keys: dict[str, str] = Field(
        default_factory=dict, description="Key in the Secret: key in Vault. Empty takes all as they are."
    )
    refresh: Duration = Field(default="30s", description="How often each agent asks Vault for a new version.")


class SecretBinding(Document):
    short_names: ClassVar[tuple[str, ...]] = ("sb",)
    plural: ClassVar[str] = "secretbindings"

    kind: Literal["SecretBinding"] = "SecretBinding"
    spec: SecretBindingSpec


class SecretEntry(Received):
    """What one cluster is told about one binding: a reference, never a value."""

    id: str
    name: str
    generation: int
    path: str
    """Below the KV mount: `<realm>/<cluster>/…` or `shared/…`."""
    namespace: str
    secret: str
    type: str = "Opaque"
    keys: dict[str, str] = Field(default_factory=dict)
    refresh_s: float = 30.0
    revoked: bool = False


class SecretsSection(Received):
    secrets: tuple[SecretEntry, ...] = ()


class SecretState(Received):
    """One binding in one cluster, signed by its agent: with `removed_at` it is the receipt of a revocation."""

    id: str
    name: str
    generation: int = 0
    version: int = 0
    secret: str = ""
    condition: Condition
    synced_at: Moment | None = None
    removed: bool = False
    removed_at: Moment | None = None
    confirmed_at: Moment | None = None
    """When a read of the apiserver showed that it is gone."""


class SecretsState(Received):
    """Body of aspect `secrets`."""

    secrets: tuple[SecretState, ...] = ()


class SecretCluster(Received):
    cluster: str
    synced: str = "Unknown"
    reason: str = ""
    message: str = ""
    version: int = 0
    removed: bool = False
    removed_at: Moment | None = None
    confirmed_at: Moment | None = None


class SecretBindingDetails(Received):
    placed: tuple[str, ...] = ()
    clusters: tuple[SecretCluster, ...] = ()
    synced: int = 0
    version: int = 0
    withdrawn_at: Moment | None = None
    """When Vault was told that no cluster may read it any more."""
    shared: str = ""
    """The shared secret whose group was told last; it is left before another's is told."""
    members: str = ""
    """Digest of the entities that the shared secret's group was given."""
    bound_at: Moment | None = None
    """When Vault was asked last about the group."""
    retiring: tuple[str, ...] = ()
    """Clusters that had the Secret, are not to have it any more, and whose receipt is not in."""
    held_clusters: tuple[str, ...] = ()
    """Clusters that placement would lose and that are held; their number is the count to type."""
    shrunk_at: Moment | None = None
    """Since when a loss of clusters is held."""
