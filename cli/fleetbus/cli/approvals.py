"""What waits for approvals, as the command handles it, and what one approver signs of it. Pure but for the signing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from fleetbus.schemas.approvals import (
    COMMAND,
    MAX_CLUSTERS,
    PRUNE,
    SUBJECT,
    Approval,
    ApprovedCluster,
    Waiting,
    command_digest,
)
from fleetbus.schemas.approvals_api import ApprovalRow, ApprovalsResult
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import MessageMalformed, NotPermitted
from fleetbus.schemas.signing import covered, wrapped
from fleetbus.schemas.subjects import MAIN, ClusterId

if TYPE_CHECKING:
    from fleetbus.runtime.ports import Signer

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Open:
    """One thing that waits in one cluster. `prunes`: what is to be agreed with it to be removed."""

    row: ApprovalRow
    waiting: Waiting
    prunes: Mapping[str, int] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        return self.row.cluster

    @property
    def place(self) -> str:
        """For which cluster exactly: its realm unless that is the first, its name, and how its UID begins."""
        realm = f"{self.row.realm}/" if self.row.realm != MAIN else ""
        return f"{realm}{self.cluster} (kube-system {self.row.uid[:_SHORT]})"

    @property
    def id(self) -> str:
        return self.waiting.command if self.waiting.kind == COMMAND else self.waiting.digest[:_SHORT]

    @property
    def ordered(self) -> Command:
        """The command, which is the one that the cluster waits with. Raises MessageMalformed when it is not."""
        for one in self.row.commands:
            if (one.id, command_digest(one)) == (self.waiting.command, self.waiting.digest):
                return one
        raise MessageMalformed(
            f"the controller does not show the command {self.id} as cluster {self.cluster} has it",
            remedy="approve nothing before that is understood",
        )

    def with_prunes(self, prunes: Mapping[str, int]) -> Open:
        return replace(self, prunes=prunes)

    def approver(self, key: str) -> str:
        """The name that the cluster's owner gave this key. Raises NotPermitted."""
        for one in self.row.protection.approvers:
            if one.key == key:
                return one.name
        raise NotPermitted(
            f"cluster {self.cluster} does not know the key {key}",
            remedy="its owner adds it to `approvers` of the Protection there: `fleetbus approver create`",
        )


def open_in(found: ApprovalsResult, only: str = "") -> list[Open]:
    """All that waits, or what has an id that begins so."""
    listed = [
        Open(row, one, dict(one.prunes) if one.kind == PRUNE else {})
        for row in found.rows
        for one in row.protection.waiting
    ]
    return [one for one in listed if one.id.startswith(only) or one.waiting.digest.startswith(only)]


def grouped(found: Sequence[Open]) -> list[list[Open]]:
    """What can be shown and signed together: the same change from the same set."""
    ordered = sorted(found, key=_change)
    return [list(chunk) for _, group in groupby(ordered, key=_change) for chunk in _chunks(list(group))]


def _change(one: Open) -> tuple[str, ...]:
    """Kind, id, digest, and where it comes from; of a prune also what goes."""
    told = one.waiting
    going = sorted(f"{id_} {number}" for id_, number in told.prunes.items())
    return (told.kind, told.command, told.digest, one.row.protection.set, *going)


def _chunks(group: list[Open]) -> Iterator[list[Open]]:
    for start in range(0, len(group), MAX_CLUSTERS):
        yield group[start : start + MAX_CLUSTERS]


def approval_of(fleet: str, group: Sequence[Open], now: datetime, valid_s: float, reason: str) -> Approval:
    """What is signed of a group that was shown together."""
    first = group[0].waiting
    clusters = tuple(
        ApprovedCluster(
            cluster=str(ClusterId(one.row.realm, one.row.cluster)),
            uid=one.row.uid,
            turn=one.row.protection.turn,
            before=one.row.protection.set,
            prunes=dict(one.prunes),
        )
        for one in group
    )
    return Approval(
        fleet=fleet,
        kind=first.kind,
        digest=first.digest,
        command=first.command,
        clusters=clusters,
        issued_at=now,
        expires_at=now + timedelta(seconds=valid_s),
        reason=reason,
    )


async def signed(one: Approval, key: Signer) -> str:
    """The envelope that is handed in."""
    content = one.to_bytes()
    signature = await key.sign(covered(SUBJECT, content))
    return wrapped(content, {key.public_key: signature}).decode()
