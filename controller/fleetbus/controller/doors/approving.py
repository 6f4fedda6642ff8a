"""The verbs about approvals: what waits for them, what it is, and one that is handed in."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from fleetbus.controller.audit import Entry
from fleetbus.controller.decisions.approvals import Fitting, fitting
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.ports import ClusterView
from fleetbus.controller.publish import uid_of
from fleetbus.schemas import subjects
from fleetbus.schemas.approvals import COMMAND
from fleetbus.schemas.approvals_api import (
    ApprovalRequest,
    ApprovalResult,
    ApprovalRow,
    ApprovalsRequest,
    ApprovalsResult,
    ArtifactRequest,
    ArtifactResult,
)
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.streams import ARTIFACTS

Result = Mapping[str, object]


async def approvals(desk: Desk, request: Request) -> Result:
    """Each protected cluster that was asked for, with what waits there."""
    asked = ApprovalsRequest.model_validate(parse_json(request.data))
    views = desk.known.view().clusters
    for name in asked.clusters:
        desk.documents.named(("Cluster", name))
    names = asked.clusters or sorted(views)
    rows = [row for name in names if (view := views.get(name)) and (row := _row(view)) is not None]
    return ApprovalsResult(fleet=desk.known.fleet, rows=tuple(rows)).as_json()


def _row(view: ClusterView) -> ApprovalRow | None:
    protection = view.facts.protection if view.facts else None
    if protection is None:
        return None
    listed = view.commands.commands if view.commands else ()
    waiting = {one.command for one in protection.waiting if one.kind == COMMAND}
    return ApprovalRow(
        cluster=view.id.name,
        realm=view.id.realm,
        uid=uid_of(view),
        connected=view.connected,
        protection=protection,
        commands=tuple(one for one in listed if one.id in waiting),
    )


async def artifact(desk: Desk, request: Request) -> Result:
    """An artifact as it is stored: who asked checks it against its digest."""
    asked = ArtifactRequest.model_validate(parse_json(request.data))
    last = await desk.bus.get_last(ARTIFACTS.name, subjects.artifact(asked.digest))
    if last is None:
        raise NotFound(f"artifact {asked.digest[:12]} is not stored")
    return ArtifactResult(stored=base64.b64encode(last.data).decode()).as_json()


async def approval(desk: Desk, request: Request) -> Result:
    """Hand in approvals: all fit what waits, or none is taken."""
    asked = ApprovalRequest.model_validate(parse_json(request.data))
    views, now = desk.known.view().clusters, desk.clock.now()
    found = [one for envelope in asked.approvals for one in fitting(envelope, views, desk.known.fleet, now)]
    author = request.author("approval", asked.reason)
    for one in found:
        entry = Entry(author, f"cluster/{one.cluster.id.name}", message=one.what)
        await desk.audit.write((), (entry,))
        await _carry(desk, one)
    return ApprovalResult(clusters=tuple(sorted({one.cluster.id.name for one in found}))).as_json()


async def _carry(desk: Desk, one: Fitting) -> None:
    if one.approval.kind == COMMAND:
        await desk.command_lists.carry(one)
    else:
        await desk.publisher.carry(one)
