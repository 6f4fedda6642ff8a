"""What one cluster is told about bundles: those that are placed on it, and those that are no more for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetbus.controller.capabilities.bundles.holds import released_for
from fleetbus.controller.capabilities.bundles.reports import object_count, report_of
from fleetbus.controller.decisions.memo import Memo
from fleetbus.controller.ports import ClusterView, Section, View
from fleetbus.schemas.capabilities.bundles import (
    CAPABILITY,
    SECTION_VERSION,
    BundleDetails,
    BundleEntry,
    BundleSpec,
)
from fleetbus.schemas.desired import Retired, Untarget
from fleetbus.schemas.documents import Status, Stored


@dataclass(frozen=True, slots=True)
class _Told:
    """What a bundle's document and status say to clusters; the same for all of them."""

    entry: dict[str, Any] | None
    placed: frozenset[str]
    retiring: frozenset[str]
    policy: Untarget
    objects: int


_told: Memo[_Told | None] = Memo(4096)


def section(cluster: ClusterView, view: View, now: datetime) -> Section:
    """The bundles whose status places them here, sorted by name. One without a status or an artifact is left
    out: what is left out is kept as it is."""
    name = cluster.id.name
    told = ((document, _tell(document, view)) for document in view.of_kind("Bundle"))
    entries = [one.entry for _, one in told if one and one.entry and name in one.placed]
    return Section(SECTION_VERSION, {"bundles": entries})


def retired(cluster: ClusterView, view: View, now: datetime) -> Sequence[Retired]:
    """The bundles that this cluster had and shall have no more, until its receipt is in."""
    found: list[Retired] = []
    for document in view.of_kind("Bundle"):
        one = _tell(document, view)
        if one is None or cluster.id.name not in one.retiring:
            continue
        # While objects go the report shrinks; what the artifact holds may go in any case.
        count = max(object_count(report_of(cluster, document.uid)) or 0, one.objects)
        found.append(
            Retired(
                capability=CAPABILITY,
                id=document.uid,
                name=document.name,
                policy=one.policy,
                count=count,
            )
        )
    return tuple(found)


def _tell(document: Stored, view: View) -> _Told | None:
    status = view.statuses.get(document.key)
    if status is None or status.uid != document.uid or not status.details:
        return None
    return _told.of(lambda: _read(document, status), document, status)


def _read(document: Stored, status: Status) -> _Told | None:
    details = BundleDetails.from_json(status.details)
    spec = BundleSpec.model_validate(document.spec)
    placed, retiring = frozenset(details.placed), frozenset(details.retiring)
    if document.deleting is not None:
        # Until the next reconcile has written it down, whoever has the bundle has to leave it.
        return _Told(None, frozenset(), placed | retiring, document.deleting.policy, details.objects)
    entry = _entry(document, spec, details).as_json() if details.artifact else None
    return _Told(entry, placed, retiring, spec.untarget, details.objects)


def _entry(document: Stored, spec: BundleSpec, details: BundleDetails) -> BundleEntry:
    return BundleEntry(
        id=document.uid,
        name=document.name,
        generation=document.generation,
        revision=details.artifact_revision,
        artifact=details.artifact,
        objects=details.objects,
        adopt=spec.adopt,
        prune=spec.prune,
        released=released_for(document, details),
    )
