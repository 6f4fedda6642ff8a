"""Which approvals a head or a command list carries, and whether one that is handed in fits what waits. Pure.

What counts is decided in the cluster. This keeps out what could not count, so that who signed hears of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetbus.controller.ports import ClusterView
from fleetbus.schemas.approvals import (
    AHEAD_S,
    COMMAND,
    MAX_BYTES,
    MAX_CARRIED,
    MAX_VALID_S,
    PRUNE,
    SET,
    Approval,
    ApprovedCluster,
    ProtectionState,
    Waiting,
    read_approval,
)
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, NotPossible
from fleetbus.schemas.signing import signed_by, unverified

Carried = tuple[str, ...] | None

_SEE = "see `fleetbus approve`"


@dataclass(frozen=True, slots=True)
class Fitting:
    """One approval, for one cluster where something waits for it. `by`: the approver's name there."""

    cluster: ClusterView
    envelope: str
    approval: Approval
    key: str
    by: str

    @property
    def what(self) -> str:
        """For the audit."""
        kind = self.approval.kind
        named = self.approval.command if kind == COMMAND else self.approval.digest[:12]
        until = f"{self.approval.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return f"{kind} {named}, signed by {self.by} ({self.key}), valid until {until}"


def fitting(envelope: str, clusters: Mapping[str, ClusterView], fleet: str, now: datetime) -> list[Fitting]:
    """An approval for each cluster that it names. Raises DocumentInvalid, NotPossible when it could not count there."""
    key, approval = _read(envelope)
    if approval.fleet != fleet:
        raise NotPossible(f"the approval is for another fleet than {fleet}")
    if approval.expires_at <= now or approval.issued_at > now + timedelta(seconds=AHEAD_S):
        raise NotPossible("the approval is not valid now", remedy="sign anew, and see that the clocks agree")
    if approval.expires_at - approval.issued_at > timedelta(seconds=MAX_VALID_S):
        raise NotPossible(f"the approval is valid for more than {MAX_VALID_S // 86400} days")
    if not approval.clusters:
        raise DocumentInvalid("the approval names no cluster")
    found: list[Fitting] = []
    for here in approval.clusters:
        cluster = next((one for one in clusters.values() if str(one.id) == here.cluster), None)
        protection = cluster.facts.protection if cluster is not None and cluster.facts else None
        if cluster is None or protection is None:
            raise NotPossible(f"cluster {here.cluster[:128]} asks for no approvals", remedy=_SEE)
        by = next((one.name for one in protection.approvers if one.key == key), "")
        if not by:
            raise NotPossible(
                f"cluster {here.cluster} does not know the key {key}",
                remedy="its owner adds it to `approvers` of the Protection there",
            )
        if not any(_fits(one, approval, here, protection) for one in protection.waiting):
            raise NotPossible(
                f"cluster {here.cluster} does not wait for this: it has changed meanwhile", remedy=_SEE
            )
        found.append(Fitting(cluster, envelope, approval, key, by))
    return found


def _read(envelope: str) -> tuple[str, Approval]:
    """Whose it is, by its own signature, and what it says."""
    try:
        keys = signed_by(envelope.encode())
        approval = read_approval(envelope, keys[0]) if len(keys) == 1 else None
    except FleetbusError as error:
        raise DocumentInvalid(f"not an approval: {error.message}") from error
    if approval is None:
        raise DocumentInvalid(f"not an approval of at most {MAX_BYTES} bytes with one signature that fits")
    return keys[0], approval


def _fits(one: Waiting, approval: Approval, here: ApprovedCluster, protection: ProtectionState) -> bool:
    if (one.kind, one.digest, one.command) != (approval.kind, approval.digest, approval.command):
        return False
    if one.kind == COMMAND:
        return True
    is_from_here = (here.turn, here.before) == (protection.turn, protection.set)
    return is_from_here and (one.kind == SET or any(id_ in here.prunes for id_ in one.prunes))


def with_one(carried: Carried, new: str, now: datetime) -> tuple[str, ...]:
    """With another approval: in place of the same approver's former one of the same, without those that expired.

    Raises NotPossible when there are too many.
    """
    mine = _subject(new)
    kept = [one for one in still_carried(carried, now) or () if _subject(one) != mine]
    if len(kept) >= MAX_CARRIED:
        raise NotPossible(f"{len(kept)} approvals are carried already: some must be used up first")
    return (*kept, new)


def still_carried(carried: Carried, now: datetime) -> Carried:
    """Those that have not expired; None for none."""
    return tuple(one for one in carried or () if _content(one).expires_at > now) or None


def of_commands(carried: Carried, ids: Sequence[str], now: datetime) -> Carried:
    """Those of these commands that have not expired; None for none."""
    return tuple(one for one in still_carried(carried, now) or () if _content(one).command in ids) or None


def _subject(envelope: str) -> tuple[object, ...]:
    approval = _content(envelope)
    bundles = {id_ for here in approval.clusters for id_ in here.prunes}
    of = tuple(sorted(bundles)) if approval.kind == PRUNE else ()
    return (signed_by(envelope.encode()), approval.kind, approval.digest, approval.command, of)


def _content(envelope: str) -> Approval:
    """Of one that was read before it was carried."""
    return Approval.from_bytes(unverified(envelope.encode()))
