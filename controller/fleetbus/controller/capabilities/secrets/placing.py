"""Where a binding is to be: placement, the brake on losing clusters, and who has yet to answer for leaving. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetbus.controller.capabilities.secrets.reports import is_removed, known_details, report_of
from fleetbus.controller.decisions.held import Kept, keep, shrunk_key
from fleetbus.controller.decisions.placement import Placed, place, staying_text
from fleetbus.controller.ports import ClusterView, View
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.secrets import SecretBindingDetails, SecretBindingSpec
from fleetbus.schemas.conditions import Status as Verdict
from fleetbus.schemas.documents import Status, Stored, placement_limit
from fleetbus.schemas.errors import DocumentInvalid


@dataclass(frozen=True, slots=True)
class Placing:
    placed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    shrunk_at: datetime | None = None
    retiring: tuple[str, ...] = ()
    verdict: tuple[Verdict, str, str] = ("Unknown", words.REASON_NO_CLUSTER, "")


def decide(document: Stored, spec: SecretBindingSpec, view: View, now: datetime) -> Placing:
    found, kept = _kept(document, spec, view)
    known = known_details(document, view)
    since = known.shrunk_at if known else None
    return Placing(
        placed=kept.placed,
        held=kept.held,
        shrunk_at=(since or now) if kept.held else None,
        retiring=leaving(document, view, kept.placed),
        verdict=_verdict(document, found, kept),
    )


def placed_on(document: Stored, spec: SecretBindingSpec, view: View) -> tuple[str, ...]:
    """The clusters that are to have it, those whose loss is held included."""
    return _kept(document, spec, view)[1].placed


def leaving(document: Stored, view: View, placed: tuple[str, ...]) -> tuple[str, ...]:
    """Clusters of the fleet that had it, are not to have it, and whose receipt is not in."""
    fleet, known = _fleet(view), known_details(document, view)
    had = {*_previous(document, view), *(known.retiring if known else ())}
    gone = had.intersection(fleet).difference(placed)
    return tuple(sorted(name for name in gone if not is_removed(fleet[name], document.uid)))


def release(document: Stored, status: Status | None, count: int) -> Mapping[str, int]:
    """What `released_prune` is to be when an operator types `count`. DocumentInvalid for any other number."""
    where = f"secretbinding/{document.name}"
    details = SecretBindingDetails.from_json(status.details) if status else SecretBindingDetails()
    held = len(details.held_clusters)
    if details.shrunk_at is None:
        raise DocumentInvalid("nothing of it is held", where=where, remedy=f"see fleetbus describe {where}")
    if count != held:
        command = f"fleetbus release {where} --prune {held}"
        raise DocumentInvalid(f"{count} is not what is held: {held} Secrets", where=where, remedy=command)
    return {shrunk_key(details.shrunk_at): held}


def _kept(document: Stored, spec: SecretBindingSpec, view: View) -> tuple[Placed, Kept]:
    """What a revocation takes away in any case needs no brake. One Secret a cluster is what may go."""
    fleet, known = _fleet(view), known_details(document, view)
    previous = _previous(document, view)
    found = place(spec.placement, view.clusters.values(), previous)
    gone = known.retiring if known else ()
    going = [name for name in gone if name in fleet and name not in found.clusters]
    since = known.shrunk_at if known else None
    kept = keep(
        previous,
        found.clusters,
        limit=len(fleet) + len(going) if document.revoked else placement_limit(len(previous)),
        going=len(going),
        objects=dict.fromkeys(previous, 1),
        released=document.released_prune.get(shrunk_key(since)) if since else None,
    )
    return found, kept


def _fleet(view: View) -> dict[str, ClusterView]:
    return {name: one for name, one in view.clusters.items() if one.document.deleting is None}


def _previous(document: Stored, view: View) -> frozenset[str]:
    """Where it is: where it was placed, and where it is reported all the same, such as by a cluster whose
    answer to an earlier leaving was taken for this one's. A lost status takes nothing away unasked."""
    fleet, known = _fleet(view), known_details(document, view)
    reports = ((name, report_of(one, document.uid)) for name, one in fleet.items())
    told = frozenset(name for name, report in reports if report is not None and not report.removed)
    if known is None:
        return told
    return (frozenset(fleet) & frozenset(known.placed)) | (told - frozenset(known.retiring))


def _verdict(document: Stored, found: Placed, kept: Kept) -> tuple[Verdict, str, str]:
    if kept.held:
        message = (
            f"its placement would lose {len(kept.held)} clusters; their Secrets stay; "
            f"fleetbus release secretbinding/{document.name} --prune {len(kept.held)}"
        )
        return "False", words.REASON_HELD, message
    if kept.placed:
        message = f"{len(kept.placed)} of {found.total} clusters{staying_text(found)}"
        return "True", words.REASON_PLACED, message
    command = f"fleetbus explain secretbinding {document.name}"
    return "Unknown", words.REASON_NO_CLUSTER, f"none of {found.total} clusters; {command}"
