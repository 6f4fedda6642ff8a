"""Clusters: who is in the fleet, what they are, whether they are seen."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from fleetbus.schemas.approvals import ProtectionState
from fleetbus.schemas.documents import Document
from fleetbus.schemas.models import Moment, Received, Written

CAPABILITY = "clusters"
ASPECTS = ("session", "facts")

CONNECTED = "Connected"
"""The bus's servers have a connection of its key."""
RESPONSIVE = "Responsive"
"""Its heartbeats come: two have not been missed."""
SYNCED = "Synced"
"""Its agent has accepted the newest head; whether what it names is applied, each document says."""
LEAVING = "Leaving"
"""It is no member of the fleet any more."""
NAME_UNIQUE = "NameUnique"
"""False while another cluster claims this one's name, or more connections have its key than its agent can need."""
APPROVED = "Approved"
"""Of a protected cluster: what it is told has the approvals that its owner asks for."""
CONDITIONS = (CONNECTED, RESPONSIVE, SYNCED, LEAVING, NAME_UNIQUE, APPROVED)

REASON_REGISTERED = "Registered"
REASON_CONNECTED = "ConnectionOpen"
REASON_FLAPPING = "Flapping"
REASON_UNOBSERVED = "NotObserved"
REASON_HEARTBEAT = "HeartbeatReceived"
REASON_HEARTBEAT_AWAITED = "HeartbeatAwaited"
REASON_HEARTBEAT_MISSED = "HeartbeatMissed"
REASON_FLOODING = "Flooding"
REASON_TOO_MANY = "TooManyConnections"
REASON_NEVER_SEEN = "NeverSeen"
REASON_DISCONNECTED = "Disconnected"
REASON_BEHIND = "Behind"
REASON_UP_TO_DATE = "UpToDate"
REASON_DESIRED_REFUSED = "DesiredRefused"
REASON_STATE_REFUSED = "StateRefused"
REASON_NO_COMMON_CONTRACT = "NoCommonContract"
REASON_AGENT_STARTED = "AgentStarted"
REASON_LEAVING = "Leaving"
REASON_REVOKED = "ClusterRevoked"
REASON_RETIRED = "ClusterRetired"
REASON_KEY_REVOKED = "KeyRevoked"
REASON_ENROLLED = "Enrolled"
REASON_WAITING = "WaitingForApproval"
REASON_TOKEN_UNKNOWN = "TokenUnknown"
REASON_TOKEN_USED = "TokenUsed"
REASON_TOKEN_EXPIRED = "TokenExpired"
REASON_WRONG_CLUSTER = "TokenForAnotherCluster"
REASON_OTHER_NAME = "KnownByAnotherName"
REASON_NAME_CLAIMED = "NameClaimed"
REASON_NO_MEMBER = "NoMember"
REASON_APPROVED = "Approved"
REASON_APPROVAL_MISSING = "ApprovalMissing"
REASON_APPROVAL_GIVEN = "ApprovalGiven"
REASON_PROTECTED = "Protected"
REASON_NOT_PROTECTED = "NotProtected"
REASON_PROTECTION_BROKEN = "ProtectionBroken"

EVENT_REGISTERED = "cluster.registered"
EVENT_DISCONNECTED = "cluster.disconnected"
EVENT_CONNECTED = "cluster.connected"
EVENT_FLAPPING = "cluster.flapping"
EVENT_RESPONSIVE = "cluster.responsive"
EVENT_UNRESPONSIVE = "cluster.unresponsive"
EVENT_FLOODING = "cluster.flooding"
EVENT_TOO_MANY = "cluster.too-many-connections"
EVENT_SESSION = "cluster.agent-started"
EVENT_REVOKED = "cluster.revoked"
EVENT_RETIRED = "cluster.retired"
EVENT_REMOVED = "cluster.removed"
EVENT_MESSAGE_REFUSED = "cluster.message-refused"
EVENT_ENROLLED = "cluster.enrolled"
EVENT_ENROLMENT_WAITING = "cluster.enrolment-waiting"
EVENT_ENROLMENT_REFUSED = "cluster.enrolment-refused"
EVENT_QUARANTINED = "cluster.enrolment-quarantined"
EVENT_PROTECTED = "cluster.protected"
EVENT_APPROVAL_NEEDED = "cluster.approval-needed"
EVENT_APPROVAL_GIVEN = "cluster.approval-given"
EVENT_APPROVED = "cluster.approved"

CLUSTER_EVENTS: frozenset[str] = frozenset()
"""Clusters tell none themselves."""

HEARTBEAT_S = 15.0
MISSED_HEARTBEATS = 2


class ClusterSpec(Written):
    """A member of the fleet. Written by `fleetbus cluster join`; labels are what placement selects on."""

    realm: str = "main"
    key: str = Field(description="The agent's public nkey: it signs what the cluster reports.")
    uid: str = Field(default="", description="UID of the namespace kube-system: the cluster's identity.")
    vault_entity: str = Field(default="", description="Id of the cluster's entity in Vault.")
    owner: str = Field(default="", description="Team or person to ask.")
    description: str = ""


class Cluster(Document):
    short_names: ClassVar[tuple[str, ...]] = ("cl",)
    plural: ClassVar[str] = "clusters"

    kind: Literal["Cluster"] = "Cluster"
    spec: ClusterSpec


class Contents(Received):
    """How many documents of one capability are placed on a cluster, and ready there."""

    placed: int = 0
    ready: int = 0


class ClusterDetails(Received):
    """Status details of a cluster."""

    kubernetes_version: str = ""
    nodes: int = 0
    cpu: str = ""
    memory_bytes: int = 0
    provider: str = ""
    region: str = ""
    agent_version: str = ""
    uid: str = ""
    issuer: str = ""
    charter: str = ""
    """The newest word of the root's that its agent has kept, such as `2.5`: epoch and version."""
    contents: dict[str, Contents] = Field(default_factory=dict)
    """By capability."""
    serials: dict[str, int] = Field(default_factory=dict)
    """Aspect → the serial that was accepted, as of late: what a controller that starts takes no older than."""
    accepted_serial: int = 0
    published_serial: int = 0
    registered: bool = False
    agent_started_at: Moment | None = None
    left: str = ""
    """Why its last connection ended, in the words of the bus's server."""
    protection: ProtectionState | None = None
    """As its agent reports it; None for a cluster that asks for no approvals."""
    was_protected: bool | None = None
    """True once it has asked for some."""
