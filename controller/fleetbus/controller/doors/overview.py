"""The verb `overview`: the fleet in a few numbers, what is wrong, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from fleetbus.controller import orders
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.ports import ClusterView
from fleetbus.controller.views import CLUSTER
from fleetbus.schemas import api, conditions, subjects
from fleetbus.schemas.capabilities.bundles import REASON_PLACEMENT_SHRANK, REASON_PRUNE_HELD
from fleetbus.schemas.capabilities.secrets import REASON_HELD
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid
from fleetbus.schemas.states import FINISHED
from fleetbus.schemas.streams import AUDIT, EVENTS, STREAMS

REASON_SETTINGS = SettingsInvalid.__name__
_MOST = 50
_HELD = {REASON_PRUNE_HELD, REASON_PLACEMENT_SHRANK, REASON_HELD}
_ENDED = FINISHED


async def overview(desk: Desk, request: Request) -> Mapping[str, object]:
    view = desk.known.view()
    not_ready = list(_not_ready(desk))
    held = [one for one in not_ready if one.reason in _HELD]
    return api.Overview(
        fleet=desk.known.fleet,
        controller=desk.version,
        epoch=desk.term.epoch,
        term=desk.term.number,
        signing_key=desk.audit.public_key,
        charter=desk.trust.charter,
        tallies=tuple(_tally(desk, kind) for kind in KINDS),
        away=tuple(name for name, one in sorted(view.clusters.items()) if _is_away(one)),
        problems=(
            *_settings(desk),
            *(one for one in not_ready if one.status == "False" and one not in held),
        )[:_MOST],
        held=tuple(held[:_MOST]),
        commands_open=_open(desk),
        streams={stream.name: await _messages(desk, stream.name) for stream in STREAMS},
        oldest_event_at=await _oldest(desk),
        audit_newest=await _newest_record(desk),
        audit_copied=await _copied(desk),
    ).as_json()


def _is_away(cluster: ClusterView) -> bool:
    return not cluster.heard and not _has_left(cluster.document)


def _has_left(stored: Stored) -> bool:
    """A cluster that was taken out of the fleet is no trouble of it any more."""
    return stored.kind == CLUSTER and stored.deleting is not None


def _ready(desk: Desk, key: tuple[str, str]) -> Condition | None:
    status = desk.known.status(key)
    return conditions.find(status.conditions, conditions.READY) if status else None


def _tally(desk: Desk, kind: str) -> api.Tally:
    there = (stored for stored in desk.known.view().of_kind(kind) if not _has_left(stored))
    found = [_ready(desk, stored.key) for stored in there]
    return api.Tally(
        kind=kind, count=len(found), ready=sum(1 for one in found if one and one.status == "True")
    )


def _not_ready(desk: Desk) -> Iterator[api.Problem]:
    for kind in KINDS:
        for stored in desk.known.view().of_kind(kind):
            status = desk.known.status(stored.key)
            ready = _ready(desk, stored.key)
            if status is None or ready is None or ready.status == "True" or _has_left(stored):
                continue
            held = next((one for one in status.conditions if one.reason in _HELD), None)
            shown = held or ready
            yield api.Problem(
                object=f"{kind.lower()}/{stored.name}",
                status=ready.status,
                reason=shown.reason,
                message=shown.message,
                since=shown.last_transition_at.isoformat(),
            )


def _settings(desk: Desk) -> Iterator[api.Problem]:
    """A settings file that was broken while the controller runs: the next start would fail."""
    if problem := desk.settings_problem():
        yield api.Problem(object="controller/settings", reason=REASON_SETTINGS, message=problem)


def _open(desk: Desk) -> int:
    now = desk.clock.now()
    return sum(
        row.phase not in _ENDED
        for view in desk.known.clusters()
        if view.commands
        for row in orders.rows(view.id.name, view.commands.commands, view.results, now)
    )


async def _messages(desk: Desk, stream: str) -> int:
    """How many messages a stream holds; -1 when it is missing or cannot be asked."""
    try:
        answer = await desk.bus.request(subjects.stream_info(stream), b"", timeout_s=2.0)
        told = orjson.loads(answer.data)
    except (FleetbusError, orjson.JSONDecodeError):
        return -1
    state = told.get("state") if isinstance(told, dict) else None
    count = state.get("messages") if isinstance(state, dict) else None
    return count if isinstance(count, int) else -1


async def _newest_record(desk: Desk) -> str:
    try:
        return str(await desk.audit.newest())
    except FleetbusError:
        return ""


async def _copied(desk: Desk) -> int:
    """The number of the last record that the server has copied; 0 for none."""
    try:
        last = await desk.bus.get_last(AUDIT.name, subjects.ALL_AUDITS)
    except FleetbusError:
        return 0
    return (subjects.parse_audit(last.subject) or 0) if last else 0


async def _oldest(desk: Desk) -> str:
    try:
        found = await desk.bus.get_many(EVENTS.name, subjects.ALL_EVENTS, limit=1)
    except FleetbusError:
        return ""
    return found[0].stored_at.isoformat() if found and found[0].stored_at else ""
