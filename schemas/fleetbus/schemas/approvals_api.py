"""The verbs of the controller's API that are about approvals: what waits, what it is, and an approval handed in."""

from __future__ import annotations

from pydantic import Field

from fleetbus.schemas.api import MAX_REASON
from fleetbus.schemas.approvals import MAX_CARRIED, ProtectionState
from fleetbus.schemas.desired import Command
from fleetbus.schemas.models import Received, Written


class ApprovalsRequest(Written):
    """What waits for approvals, in these clusters or in all."""

    clusters: tuple[str, ...] = ()


class ApprovalRow(Received):
    """One protected cluster, as its agent has reported it. `commands`: those that wait."""

    cluster: str
    realm: str
    uid: str
    connected: bool = False
    protection: ProtectionState
    commands: tuple[Command, ...] = ()


class ApprovalsResult(Received):
    fleet: str
    rows: tuple[ApprovalRow, ...] = ()


class ArtifactRequest(Written):
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArtifactResult(Received):
    """`stored`: the bytes as they lie on the bus, in base64; `fleetbus.schemas.artifacts` checks and unpacks them."""

    stored: str


class ApprovalRequest(Written):
    """Envelopes of approvals, each signed by one approver. All fit what waits, or none is taken."""

    approvals: tuple[str, ...] = Field(min_length=1, max_length=MAX_CARRIED)
    reason: str = Field(default="", max_length=MAX_REASON)


class ApprovalResult(Received):
    clusters: tuple[str, ...] = ()
