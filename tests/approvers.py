"""Approvers of a protected cluster: their keys, the owner's object that names them, and what they sign."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from nacl.signing import SigningKey

from fleetbus.agent.ports import Identity
from fleetbus.schemas.approvals import SET, SUBJECT, Approval, ApprovedCluster, ProtectionState
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer

ANA, BEN, CYD, EVE = (SigningKey(bytes([number]) * 32) for number in (21, 22, 23, 24))
"""Eve is nobody's approver."""
NAMES = {"ana": ANA, "ben": BEN, "cyd": CYD}
PATH = "/apis/agent.fleetbus.dev/v1alpha1/namespaces/fleetbus-system/protections"


def protection(
    required: int, approvers: Sequence[str] = tuple(NAMES), name: str = "fleetbus"
) -> dict[str, Any]:
    """The owner's object."""
    return {
        "apiVersion": "agent.fleetbus.dev/v1alpha1",
        "kind": "Protection",
        "metadata": {"name": name, "namespace": "fleetbus-system"},
        "spec": {
            "required": required,
            "approvers": [{"name": one, "key": public_key(NAMES[one])} for one in approvers],
        },
    }


def here(identity: Identity, state: ProtectionState | None = None, **fields: Any) -> ApprovedCluster:
    """A cluster as it stands: at its turn, with its set."""
    at = {"turn": state.turn, "before": state.set} if state else {}
    given = {"cluster": str(identity.cluster), "uid": identity.uid, **at, **fields}
    return ApprovedCluster.model_validate(given)


def approval(digest: str, now: datetime, *clusters: ApprovedCluster, **fields: Any) -> Approval:
    given = {
        "fleet": "test",
        "kind": SET,
        "digest": digest,
        "clusters": clusters,
        "issued_at": now,
        "expires_at": now + timedelta(hours=1),
        **fields,
    }
    return Approval.model_validate(given)


def signed(one: Approval, *keys: SigningKey) -> str:
    return signer(*keys)(SUBJECT, one.to_bytes()).decode()
