"""What of a bundle is held, under which key it is released, and the count that releases it. Pure.

A key begins anew with each hold, so that what was typed once never lets a later one through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetbus.controller.decisions.held import shrunk_key
from fleetbus.schemas.capabilities.bundles import (
    PLACED,
    REASON_PLACEMENT_SHRANK,
    REASON_PRUNE_HELD,
    RENDERED,
    BundleDetails,
)
from fleetbus.schemas.conditions import find
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import DocumentInvalid

_EMPTIED = "nothing is left in the source"
_LEFT = "more objects have left the source than may go unasked"


@dataclass(frozen=True, slots=True)
class Hold:
    """`key` in `released_prune`, and how many objects would go."""

    key: str
    count: int
    reason: str
    what: str


def emptied_key(since: datetime) -> str:
    return f"emptied:{since.isoformat()}"


def holds(status: Status | None) -> tuple[Hold, ...]:
    """Everything that is held now."""
    if status is None:
        return ()
    details = BundleDetails.from_json(status.details)
    found: list[Hold] = []
    rendered, placed = find(status.conditions, RENDERED), find(status.conditions, PLACED)
    if rendered is not None and rendered.reason == REASON_PRUNE_HELD and details.emptied_at:
        found.append(Hold(emptied_key(details.emptied_at), details.objects, rendered.reason, _EMPTIED))
    if placed is not None and placed.reason == REASON_PLACEMENT_SHRANK and details.shrunk_at:
        lost = f"{len(details.held_clusters)} clusters are no longer placed"
        found.append(Hold(shrunk_key(details.shrunk_at), details.held_objects, placed.reason, lost))
    if details.held_prunes:
        found.append(Hold(details.artifact, details.held_prunes, REASON_PRUNE_HELD, _LEFT))
    return tuple(found)


def release(document: Stored, status: Status | None, count: int) -> Mapping[str, int]:
    """What `released_prune` is to be when an operator types `count`: that, and what was let go before and counts.

    Raises DocumentInvalid when nothing is held, or another number.
    """
    where = f"bundle/{document.name}"
    held = holds(status)
    if not held:
        raise DocumentInvalid("nothing of it is held", where=where, remedy=f"see fleetbus describe {where}")
    released = {hold.key: hold.count for hold in held if hold.count == count}
    if not released:
        told = "; ".join(f"{hold.what}: {hold.count} objects" for hold in held)
        command = f"fleetbus release {where} --prune {held[0].count}"
        raise DocumentInvalid(f"{count} is not what is held ({told})", where=where, remedy=command)
    details = BundleDetails.from_json(status.details) if status else BundleDetails()
    since = details.emptied_at
    counts = {details.artifact, emptied_key(since) if since else ""}
    return {**{key: typed for key, typed in document.released_prune.items() if key in counts}, **released}


def released_for(document: Stored, details: BundleDetails) -> int:
    """How many objects a cluster may prune for the wanted artifact, as the operator typed it."""
    counts = [document.released_prune.get(details.artifact, 0)]
    if details.emptied_at is not None and details.objects == 0:
        counts.append(document.released_prune.get(emptied_key(details.emptied_at), 0))
    return max(counts)
