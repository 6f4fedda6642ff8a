"""The verbs of the controller's API that are about enrolment: tokens, approval, who waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from fleetbus.schemas.api import MAX_REASON
from fleetbus.schemas.enrolment import DEFAULT_TOKEN_TTL_S, MAX_TOKEN_TTL_S, Left, VaultPlace
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.models import Moment, Received, Written


class TokenRequest(Written):
    """Admit a join token by its public key: good once, for this name. `uid` binds it to one cluster as well.

    `approve`: the cluster waits for an operator's word. `replace`: it may take the name from another.
    """

    name: str
    realm: str = "main"
    key: str = Field(pattern=r"^U[A-Z2-7]{55}$")
    ttl_s: float = Field(default=DEFAULT_TOKEN_TTL_S, gt=0, le=MAX_TOKEN_TTL_S)
    uid: str = Field(default="", max_length=64)
    approve: bool = False
    replace: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    owner: str = ""
    reason: str = Field(default="", max_length=MAX_REASON)


class AdmittedTokenResult(Received):
    """Answer to `token`: what goes into the token beside the seed, which only the asker has."""

    id: str
    jwt: str = Field(repr=False)
    certificate: str = Field(default="", repr=False)
    expires_at: Moment
    fleet: str
    epoch: int
    root: str = ""
    controller_keys: tuple[str, ...]
    vault: VaultPlace | None = None


class ApproveRequest(Written):
    """Let the cluster in that waits under this name; `nkey` when it must be that one.

    `dismiss`: turn away whoever waits or claims the name instead, and withdraw its open tokens.
    """

    name: str
    nkey: str = ""
    dismiss: bool = False
    reason: str = Field(default="", max_length=MAX_REASON)


class RetireRequest(Written):
    """A cluster leaves the fleet: its key counts no more, its open tokens are withdrawn. Its workloads stay.

    `left`: revoked, when it is not to be trusted, or retired, in peace. `purge`: its document, mailboxes and states
    go as well; else they stay as they are, and nobody writes to them.
    """

    name: str
    realm: str = Field(default="", description="Only if it is in this realm.")
    left: Left
    purge: bool = False
    reason: str = Field(default="", max_length=MAX_REASON)


class EnrolmentsRequest(Written):
    """Names with open tokens, waiting or quarantined clusters; or one name, whatever there is."""

    name: str = ""


class EnrolmentRow(Received):
    """One name. `outcome`: token, waiting, quarantined, enrolled, revoked or retired; `member_uid` and `uid` of who has
    it and of who asks."""

    name: str
    realm: str
    outcome: str
    uid: str = ""
    nkey: str = ""
    member_uid: str = ""
    member_nkey: str = ""
    issuer: str = ""
    service_account_keys: tuple[dict[str, Any], ...] = ()
    expires_at: Moment | None = None
    message: str = ""
    former_keys: tuple[str, ...] = ()
    """Those that were a member's of this name once: given up for another, or revoked so lately that a user may live."""
    proof: str = Field(default="", repr=False)
    """This row once more, as the controller has signed it for the name's subject; of one that was asked for by name."""


class EnrolmentsResult(Received):
    """`vault`: where clusters find it."""

    vault: VaultPlace | None = None
    rows: tuple[EnrolmentRow, ...] = ()


def known_in_several(name: str, realms: Iterable[str]) -> NotPossible:
    """Which of them is meant must be said."""
    return NotPossible(f"`{name}` is known in the realms {', '.join(sorted(realms))}", remedy="give --realm")
