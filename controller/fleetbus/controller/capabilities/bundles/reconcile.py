"""A Bundle: its source's revision rendered, placed, and what the clusters made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fleetbus.controller.capabilities.bundles import placing, rendering, standing
from fleetbus.controller.capabilities.bundles.holds import release
from fleetbus.controller.capabilities.bundles.readiness import readiness
from fleetbus.controller.capabilities.bundles.render import Render, Renderings, render_from_git
from fleetbus.controller.capabilities.bundles.reports import reported_ids
from fleetbus.controller.capabilities.bundles.section import retired, section
from fleetbus.controller.capabilities.bundles.source import read_source
from fleetbus.controller.capabilities.bundles.standing import InCluster, Verdict, Wanted
from fleetbus.controller.capabilities.bundles.transitions import transitions
from fleetbus.controller.decisions.explain import explain_placement
from fleetbus.controller.ports import Capability, Change, Key, Outcome, Ports, View
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleDetails, BundleSpec, aspect_of
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.documents import Stored


def capability(render: Render = render_from_git) -> Capability:
    """The capability with a way to render; the simulation brings its own."""
    renderings = Renderings(render)

    async def reconcile(document: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
        if document.deleting is not None:
            return _leave(document, view, now)
        return await _reconcile(renderings, document, view, ports, now)

    return Capability(
        name=words.CAPABILITY,
        kind="Bundle",
        reconcile=reconcile,
        transitions=transitions,
        affected=affected,
        section=section,
        retired=retired,
        readiness=readiness,
        explain=explain,
        release=release,
    )


async def _reconcile(
    renderings: Renderings, document: Stored, view: View, ports: Ports, now: datetime
) -> Outcome:
    spec = BundleSpec.model_validate(document.spec)
    known = _known(document, view)
    # Without a status the clusters' reports still say that there is something to lose.
    before = known or BundleDetails(objects=placing.most_reported(document, view))
    source = read_source(spec.source, view)
    rendered = await rendering.decide(
        renderings,
        document,
        spec,
        source,
        before,
        ports.work_dir,
        now,
        afresh=document.key in view.asked,
    )
    placed = placing.decide(document, spec, known, view, now)
    wanted = Wanted(
        id=document.uid,
        name=document.name,
        generation=document.generation,
        artifact=rendered.artifact,
        revision=rendered.revision,
        artifact_revision=rendered.artifact_revision,
        current=rendered.current,
    )
    found = [standing.judge(view.clusters[name], wanted) for name in placed.placed]
    verdicts = {
        words.SOURCE_READY: source.verdict,
        words.RENDERED: rendered.verdict,
        words.PLACED: placed.verdict,
        words.APPLIED: standing.applied(found, wanted),
        words.HEALTHY: standing.healthy(found, wanted),
    }
    return Outcome(
        conditions=[_condition(document, type_, verdict, now) for type_, verdict in verdicts.items()],
        details=_details(rendered, placed, found, wanted).as_json(),
        artifacts=[rendered.made] if rendered.made else [],
        again_in_s=rendered.again_in_s,
    )


def _details(
    rendered: rendering.Rendering, placed: placing.Placing, found: list[InCluster], wanted: Wanted
) -> BundleDetails:
    reports = [one.report for one in found if one.report is not None and one.updated]
    return BundleDetails(
        revision=rendered.revision,
        artifact=rendered.artifact,
        objects=rendered.objects,
        rendered_from=rendered.rendered_from,
        placed=placed.placed,
        excluded=placed.excluded,
        held_clusters=placed.held,
        clusters=standing.summaries(found, wanted),
        ready=sum(one.standing is standing.Standing.READY for one in found),
        updated=sum(one.updated for one in found) if wanted.current else 0,
        drifted=sum(report.drifted > 0 for report in reports),
        held_prunes=max((report.held_prunes for report in reports), default=0),
        artifact_revision=rendered.artifact_revision,
        emptied_at=rendered.emptied_at,
        shrunk_at=placed.shrunk_at,
        held_objects=placed.held_objects,
        retiring=placed.retiring,
    )


def _leave(document: Stored, view: View, now: datetime) -> Outcome:
    """A deleted bundle stays until every cluster that had it has answered or has left the fleet."""
    known = _known(document, view)
    left = placing.had_it(document, known, view)
    before = known or BundleDetails()
    details = before.model_copy(
        update={"placed": (), "clusters": (), "excluded": (), "held_clusters": (), "retiring": left}
    )
    if left:
        names = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
        verdict = Verdict("Unknown", words.REASON_DELETING, f"waits for the receipts of {names}")
    else:
        verdict = Verdict("Unknown", words.REASON_DELETED, "every cluster has answered")
    types = (words.SOURCE_READY, words.RENDERED, words.PLACED, words.APPLIED, words.HEALTHY)
    conditions = [_condition(document, type_, verdict, now) for type_ in types]
    return Outcome(conditions, details.as_json(), removable=not left)


def _known(document: Stored, view: View) -> BundleDetails | None:
    """The last status' details; None before the first."""
    status = view.statuses.get(document.key)
    if status is None or status.uid != document.uid or not status.details:
        return None
    return BundleDetails.from_json(status.details)


def _condition(document: Stored, type_: str, verdict: Verdict, now: datetime) -> Condition:
    return Condition(
        type=type_,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        last_transition_at=now,
        observed_generation=document.generation,
    )


def affected(change: Change, view: View) -> Iterable[Key]:
    """The bundles that this change may say something about."""
    if change.aspect == "outbox":
        return
    name = change.name
    for document in view.of_kind("Bundle"):
        match change.what, change.kind:
            case "document", "Bundle":
                hit = document.name == name
            case (("document" | "status"), "Source"):
                hit = document.spec.get("source") == name
            case "document", "Cluster":
                hit = True
            case "state", _:
                hit = _reports(change, document, view)
            case "presence", _:
                hit = _touches(document, name, view)
            case _:
                hit = False
        if hit:
            yield document.key


def _reports(change: Change, document: Stored, view: View) -> bool:
    if change.aspect == "facts":
        placement = document.spec.get("placement")
        if isinstance(placement, Mapping) and placement.get("facts"):
            return True
        facts = cluster.facts if (cluster := view.clusters.get(change.name)) else None
        asks = facts is not None and facts.protection is not None
        return asks and _touches(document, change.name, view)
    if change.aspect != aspect_of(document.uid):
        return False
    cluster = view.clusters.get(change.name)
    told = cluster is not None and document.uid in reported_ids(cluster, change.aspect)
    return told or _touches(document, change.name, view)


def _touches(document: Stored, cluster: str, view: View) -> bool:
    status = view.statuses.get(document.key)
    if status is None:
        return False
    return any(cluster in (status.details.get(field) or ()) for field in ("placed", "retiring"))


def explain(document: Stored, view: View, cluster: str) -> Mapping[str, Any]:
    """Why each cluster is in or out."""
    spec = BundleSpec.model_validate(document.spec)
    known = _known(document, view) or BundleDetails()
    return explain_placement(
        document,
        spec.placement,
        view.clusters.values(),
        placed=known.placed,
        held=known.held_clusters,
        cluster=cluster,
    ).as_json()
