"""Where a bundle is to be: placement, the brake on losing clusters, and who has yet to answer for leaving. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fleetbus.controller.capabilities.bundles.reports import is_removed, object_count, report_of
from fleetbus.controller.capabilities.bundles.standing import Verdict
from fleetbus.controller.decisions.held import Kept, keep, shrunk_key
from fleetbus.controller.decisions.placement import Placed, place, staying_text
from fleetbus.controller.ports import ClusterView, View
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleDetails, BundleSpec, Exclusion
from fleetbus.schemas.conditions import MAX_LISTED
from fleetbus.schemas.documents import Stored, placement_limit


@dataclass(frozen=True, slots=True)
class Placing:
    placed: tuple[str, ...]
    excluded: tuple[Exclusion, ...]
    held: tuple[str, ...]
    held_objects: int
    shrunk_at: datetime | None
    retiring: tuple[str, ...]
    verdict: Verdict


def decide(
    document: Stored, spec: BundleSpec, before: BundleDetails | None, view: View, now: datetime
) -> Placing:
    """`before` is None when the bundle has no status: then the clusters that report it are where it was, so
    that a lost status prunes nothing without asking."""
    fleet = {name: cluster for name, cluster in view.clusters.items() if cluster.document.deleting is None}
    previous = _previous(document, before, fleet.values())
    found = place(spec.placement, view.clusters.values(), previous)
    leaving = before.retiring if before else ()
    going = [name for name in leaving if name in fleet and name not in found.clusters]
    # What is kept where it is loses nothing.
    limit = len(fleet) + len(going) if spec.untarget == "Keep" else placement_limit(len(previous))
    since = before.shrunk_at if before else None
    kept = keep(
        previous,
        found.clusters,
        limit=limit,
        going=len(going),
        objects={name: _objects(document, before, fleet[name]) for name in previous},
        released=document.released_prune.get(shrunk_key(since)) if since else None,
    )
    retiring = {*going, *kept.lost}
    return Placing(
        placed=kept.placed,
        excluded=found.exclusions[:MAX_LISTED],
        held=kept.held,
        held_objects=kept.objects,
        shrunk_at=(since or now) if kept.held else None,
        retiring=tuple(sorted(name for name in retiring if not is_removed(fleet[name], document.uid))),
        verdict=_verdict(document, kept, len(previous), found),
    )


def most_reported(document: Stored, view: View) -> int:
    """The most objects that any cluster says it has of this bundle."""
    counts = (object_count(report_of(cluster, document.uid)) for cluster in view.clusters.values())
    return max((count or 0 for count in counts), default=0)


def had_it(document: Stored, before: BundleDetails | None, view: View) -> tuple[str, ...]:
    """The clusters in the fleet that a deleted bundle has to leave and that have not answered."""
    fleet = [cluster for cluster in view.clusters.values() if cluster.document.deleting is None]
    had = {*_previous(document, before, fleet), *(before.retiring if before else ())}
    return tuple(
        sorted(
            cluster.id.name
            for cluster in fleet
            if cluster.id.name in had and not is_removed(cluster, document.uid)
        )
    )


def _objects(document: Stored, before: BundleDetails | None, cluster: ClusterView) -> int:
    """As the cluster reports; before it has, as many as it was told."""
    count = object_count(report_of(cluster, document.uid))
    return (before.objects if before else 0) if count is None else count


def _previous(document: Stored, before: BundleDetails | None, fleet: Iterable[ClusterView]) -> frozenset[str]:
    """Where it was placed, and where it is reported all the same, such as by a cluster whose answer to an
    earlier leaving was taken for this one's."""
    names = {cluster.id.name: report_of(cluster, document.uid) for cluster in fleet}
    told = frozenset(name for name, report in names.items() if report is not None and not report.removed)
    if before is None:
        return told
    return (frozenset(names) & frozenset(before.placed)) | (told - frozenset(before.retiring))


def _verdict(document: Stored, kept: Kept, previous: int, found: Placed) -> Verdict:
    if kept.held:
        message = (
            f"its placement would lose {len(kept.held)} of {previous} clusters; nothing was pruned, "
            f"{kept.objects} objects stay; fleetbus release bundle/{document.name} --prune {kept.objects}"
        )
        return Verdict("False", words.REASON_PLACEMENT_SHRANK, message)
    if not kept.placed:
        command = f"fleetbus explain bundle {document.name}"
        return Verdict("Unknown", words.REASON_NO_CLUSTER, f"none of {found.total} clusters; {command}")
    message = f"{len(kept.placed)} of {found.total} clusters{staying_text(found)}"
    return Verdict("True", words.REASON_PLACED, message)
