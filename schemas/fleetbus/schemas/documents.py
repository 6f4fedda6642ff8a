"""The shape that all documents share: apiVersion, kind, metadata, spec; selectors; what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fleetbus.schemas import subjects
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.events import Outbox
from fleetbus.schemas.models import Moment, Received, Written

API_VERSION: Final = "fleetbus.dev/v1alpha1"

EVENT_FILE_REFUSED = "documents.file-refused"
REASON_FILE_REFUSED = "FileRefused"


def _document_name(name: str) -> str:
    try:
        return subjects.document_name(name)
    except DocumentInvalid as error:
        raise ValueError(error.sentence()) from error


def _cluster_name(name: str) -> str:
    try:
        return subjects.cluster_name(name)
    except DocumentInvalid as error:
        raise ValueError(error.sentence()) from error


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("it must lie below: no leading `/` and no `..`")
    return path


RelativePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/@+-]*$"), AfterValidator(_relative)]
Name = Annotated[str, AfterValidator(_document_name)]
ClusterName = Annotated[str, AfterValidator(_cluster_name)]
Duration = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", examples=["30s", "5m", "1h30m"])]


class Metadata(Written):
    """Name, labels, annotations; the rest is the controller's and ignored when it is applied again."""

    name: Name
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str | None = Field(default=None, description="Set by the controller.")
    generation: int | None = Field(default=None, description="Set by the controller; counts changes of spec.")
    created_at: Moment | None = Field(default=None, description="Set by the controller.")
    updated_at: Moment | None = Field(default=None, description="Set by the controller.")


class Document(Written):
    """What an operator writes. Each kind's module adds its spec."""

    short_names: ClassVar[tuple[str, ...]] = ()
    plural: ClassVar[str] = ""

    api_version: Literal["fleetbus.dev/v1alpha1"] = Field(default=API_VERSION)
    kind: str
    metadata: Metadata
    spec: Any
    status: dict[str, Any] | None = Field(
        default=None, description="Set by the controller; ignored when applied."
    )


Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


class Requirement(Written):
    """One expression over labels, as in Kubernetes' LabelSelector."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        needs = self.operator in {"In", "NotIn"}
        if needs != bool(self.values):
            raise ValueError(
                f"`values` {'must' if needs else 'must not'} be given with operator {self.operator}"
            )
        return self


class LabelSelector(Written):
    """matchLabels and matchExpressions, all of which must hold. An empty selector matches every cluster."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


FactOperator = Literal["In", "NotIn", "Exists", "AtLeast", "Below"]
FactName = Literal["kubernetesVersion", "nodes", "provider", "region", "apiGroups"]


class FactRequirement(Written):
    """One expression over what the agent reported. A missing fact never matches, NotIn included."""

    fact: FactName
    operator: FactOperator
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if (self.operator == "Exists") == bool(self.values):
            raise ValueError("`values` must be given, but with operator Exists")
        if self.operator in {"AtLeast", "Below"} and len(self.values) != 1:
            raise ValueError(f"operator {self.operator} takes exactly one value")
        return self


class Placement(Written):
    """Which clusters: all that the selector and the facts match, or that are named; never the excluded ones.

    Without selector, facts and clusters it places nothing.
    """

    selector: LabelSelector | None = None
    facts: tuple[FactRequirement, ...] = ()
    clusters: tuple[ClusterName, ...] = ()
    exclude: tuple[str, ...] = Field(
        default=(), description="Names of clusters; `*` stands for any characters."
    )


def placement_limit(placed: int) -> int:
    """How many clusters a placement may lose without asking: max(1, 20 %), but never all of several."""
    return max(1, placed // 5)


class Stored(Received):
    """A document as DOCUMENTS keeps it.

    `deleting` makes it a tombstone, which stays until every placed cluster's receipt is in.
    """

    kind: str
    name: str
    uid: str
    generation: int
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    created_at: Moment
    updated_at: Moment
    spec: dict[str, Any]
    deleting: Tombstone | None = None
    released_prune: dict[str, int] = Field(default_factory=dict)
    """Held prunes that an operator has let go, by what is held: the count that he typed.

    The keys are the capability's (an artifact's digest, or the beginning of a hold): `Capability.release`.
    """
    revoked: Revocation | None = None
    """Set by the verb `revoke` alone. No apply lifts it: it ends with the document, which may be made anew."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.name)


class Tombstone(Received):
    """A deletion on its way: since when, and what becomes of the objects in the clusters."""

    at: Moment
    policy: Literal["Keep", "Remove"]
    by: str = ""
    left: Departure | None = None
    """Of a cluster."""

    @property
    def stays(self) -> bool:
        """It is kept until the cluster joins again, or is purged."""
        return self.left is not None and self.left.stays


class Departure(Received):
    """How a cluster left the fleet, why, and whether what is known of it stays."""

    how: Literal["revoked", "retired"]
    reason: str = ""
    stays: bool = False


class Revocation(Received):
    """Who withdrew a secret from its clusters, when, and why."""

    at: Moment
    by: str = ""
    reason: str = ""
    generation: int = 0
    """The document's generation with it: a receipt of an earlier one is none of it."""


class Status(Received):
    """What STATUS keeps of a document. `details` is the capability's model; the outbox feeds the events."""

    kind: str
    name: str
    uid: str
    serial: int = 0
    """Counts what was written, so that an earlier form is known for one."""
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)
    outbox: Outbox = Outbox()


def as_document(stored: Stored, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document as an operator sees it."""
    metadata: dict[str, Any] = {
        "name": stored.name,
        "labels": stored.labels,
        "annotations": stored.annotations,
        "uid": stored.uid,
        "generation": stored.generation,
        "createdAt": stored.created_at.isoformat(),
        "updatedAt": stored.updated_at.isoformat(),
    }
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": stored.kind,
        "metadata": {key: value for key, value in metadata.items() if value not in ({}, None)},
        "spec": stored.spec,
    }
    if status is not None:
        document["status"] = dict(status)
    return document


Stored.model_rebuild()
