"""Approvals: what an approver signs, and what a protected cluster says of itself and of what waits there.

A cluster is protected by an object of its owner's that names k and the approvers' keys. What it is told counts there
only once k of them have signed for it. The controller carries the signatures, and nobody believes it about them.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.desired import CONTRACT, Command
from fleetbus.schemas.errors import Refused
from fleetbus.schemas.models import Count, Moment, Received
from fleetbus.schemas.signing import verify

SUBJECT: Final = f"{subjects.ROOT}.approval"
"""What approvals are signed for. No message has it: heads and command lists carry them."""
PROTECTION_NAME: Final = "fleetbus"
"""Of the owner's object, a Protection in the agent's namespace."""
MAX_APPROVERS = 16
MAX_CLUSTERS = 16
"""In one approval, so that a head that carries several stays a small message."""
MAX_CARRIED = 64
"""Approvals in one head or list."""
MAX_BYTES = 8192
"""Of one approval with its signature."""
MAX_VALID_S = 7 * 24 * 3600
AHEAD_S = 300
"""How much later than the reader's an approver's clock may be."""

ApprovalKind = Literal["set", "command", "prune"]
SET: Final = "set"
COMMAND: Final = "command"
PRUNE: Final = "prune"


class ApprovedCluster(Received):
    """For which cluster, by realm, name and kube-system UID, and for which step of it.

    `turn` and `before`: the turn at which the cluster stands, and the set that it has there. An approval is of the
    change from there: whoever signed it has seen what was replaced, and it is used up by the turn that it makes.
    `prunes`: bundle id → how many of its objects may be removed at the most; a bundle that is missing loses none.
    """

    cluster: str
    uid: str
    turn: Count = 0
    before: str = ""
    prunes: dict[str, Count] = Field(default_factory=dict)


class Approval(Received):
    """What one approver signs. Its subject is no message's: nothing else that the key signs can pass for it.

    `digest`: of the set, also for a prune, which is what is removed while that set counts; for a command that of its
    bytes. `command`: its id.
    """

    contract: int = CONTRACT
    fleet: str
    kind: ApprovalKind
    digest: str
    command: str = ""
    clusters: tuple[ApprovedCluster, ...]
    issued_at: Moment
    expires_at: Moment
    reason: str = ""


class Approver(Received):
    """One of those whom the cluster's owner named."""

    name: str
    key: str


class Waiting(Received):
    """What a protected cluster was told and does not do: approvals are missing.

    `approved_by`: names of those whose approval counts so far.
    """

    kind: ApprovalKind
    digest: str
    command: str = ""
    need: Count
    approved_by: tuple[str, ...] = ()
    prunes: dict[str, Count] = Field(default_factory=dict)
    """Of a prune: bundle id → how many objects are to be removed."""


class ProtectionState(Received):
    """What a protected cluster says of its protection, in its facts. `set`: what counts there, at this turn."""

    required: Count
    approvers: tuple[Approver, ...] = ()
    turn: Count = 0
    set: str = ""
    waiting: tuple[Waiting, ...] = ()
    trouble: str = ""
    """Why the owner's object is not followed as it stands; the rules that were read last hold until it is mended."""


def approvals_missing(waiting: Waiting, cluster: str) -> str:
    """One sentence: what waits, how far it is, and what gives it the next approval."""
    what = {
        SET: f"set {waiting.digest[:12]}",
        COMMAND: f"command {waiting.command}",
        PRUNE: f"the removal of {sum(waiting.prunes.values())} objects",
    }[waiting.kind]
    by = f" ({', '.join(waiting.approved_by)})" if waiting.approved_by else ""
    return (
        f"{what} has {len(waiting.approved_by)} of {waiting.need} approvals{by}; "
        f"fleetbus approve cluster/{cluster}"
    )


def command_digest(command: Command) -> str:
    """What an approval of a command is for: all of it, but not whether it was cancelled."""
    return digest(command.model_copy(update={"cancelled": False}).to_bytes())


def read_approval(envelope: str, key: str) -> Approval | None:
    """The approval in an envelope that this key has signed; None when it is another's, altered or none at all."""
    if len(envelope) > MAX_BYTES:
        return None
    try:
        return Approval.from_bytes(verify(SUBJECT, envelope.encode(), {key}))
    except Refused:
        return None
