"""The verb `expel`: an operator or a subscriber is taken out of the fleet, which the audit and an event tell."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.controller.audit import Entry
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.doors.directory import FLEET_UID
from fleetbus.controller.views import FLEET_STATUS
from fleetbus.schemas import api
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.events import Happened
from fleetbus.schemas.people import REMOVED, ExpelRequest
from fleetbus.schemas.subjects import cluster_name


async def expel(desk: Desk, request: Request) -> Mapping[str, object]:
    """Once: what an event tells already is not noted again."""
    asked = ExpelRequest.model_validate(parse_json(request.data))
    subject, message = f"{asked.kind}/{cluster_name(asked.name)}", f"key {asked.key} counts no more"
    type_, reason = REMOVED[asked.kind]
    if not desk.recent.has(subject, type_, message):
        entry = Entry(request.author("expel", asked.reason), subject, message=message)
        await desk.audit.write((), (entry,))
        happened = Happened(type=type_, subject=subject, reason=reason, message=message, severity="Warning")
        await desk.statuses.add(FLEET_STATUS, FLEET_UID, happened)
    return api.Accepted(kind=asked.kind, name=asked.name, message="noted in the audit, and told").as_json()
