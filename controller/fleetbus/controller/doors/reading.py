"""The verbs that change nothing: list, watch, describe, explain, overview."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fleetbus.controller.decisions.selectors import matches, parse_selector
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.doors.overview import overview
from fleetbus.controller.doors.validation import known_kind
from fleetbus.controller.views import CLUSTER
from fleetbus.schemas import api
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.documents import Status, Stored, as_document
from fleetbus.schemas.errors import NotFound, NotPossible

Result = Mapping[str, object]

MOST_WATCHING = 40
"""Watchers that wait at a time, of the places that the service has; who comes beyond that is answered at once."""
PAGE_BYTES = 512 * 1024
"""Rows in one answer: half of what a message may hold."""
_ONE_BY_ONE = frozenset({"clusters", "excluded", "serials"})
"""Details that grow with the fleet and that no list shows."""
_EVENTS = 10
_TOGETHER_S = 0.1

__all__ = ["describe", "explain", "list_", "overview", "watch"]


async def list_(desk: Desk, request: Request) -> Result:
    asked = api.ListRequest.model_validate(parse_json(request.data))
    return _listed(desk, asked).as_json()


async def watch(desk: Desk, request: Request) -> Result:
    """The list as soon as its version moves, or after the time that was asked for."""
    asked = api.WatchRequest.model_validate(parse_json(request.data))
    kind = known_kind(asked.kind)
    listed = api.ListRequest(
        kind=asked.kind, names=asked.names, labels=asked.labels, after=asked.after, limit=asked.limit
    )
    if asked.after or len(desk.watching) >= MOST_WATCHING:
        return _listed(desk, listed, missing=True).as_json()
    desk.watching.append(kind)
    try:
        async with asyncio.timeout(asked.wait_s):
            while desk.known.version(kind) == asked.version:
                await desk.known.changed.wait()
            await desk.clock.sleep(_TOGETHER_S)
    except TimeoutError:
        pass
    finally:
        desk.watching.remove(kind)
    return _listed(desk, listed, missing=True).as_json()


async def describe(desk: Desk, request: Request) -> Result:
    asked = api.NameRequest.model_validate(parse_json(request.data))
    stored = desk.documents.named((known_kind(asked.kind), asked.name))
    row = _row(desk, stored, desk.clock.now())
    about = f"{stored.kind.lower()}/{stored.name}"
    events = desk.recent.in_cluster(stored.name) if stored.kind == CLUSTER else desk.recent.of(about)
    return api.Described(
        document=row.document,
        live=row.live,
        events=tuple(event.as_json() for event in events[-_EVENTS:]),
    ).as_json()


async def explain(desk: Desk, request: Request) -> Result:
    asked = api.ExplainRequest.model_validate(parse_json(request.data))
    kind = known_kind(asked.kind)
    capability = desk.capability(kind)
    if capability is None or capability.explain is None:
        raise NotPossible(f"documents of kind {kind} have no placement")
    stored = desk.documents.named((kind, asked.bundle))
    if asked.cluster and desk.known.cluster(asked.cluster) is None:
        raise NotFound(f"there is no cluster `{asked.cluster[:63]}`", remedy="see `fleetbus get clusters`")
    return dict(capability.explain(stored, desk.known.view(), asked.cluster))


def _listed(desk: Desk, asked: api.ListRequest, *, missing: bool = False) -> api.ListResult:
    """`missing`: names that are not there are left out instead of being an error."""
    kind = known_kind(asked.kind)
    version = desk.known.version(kind)
    found: Iterable[Stored] = desk.known.view().of_kind(kind)
    if asked.names:
        named = [desk.known.document((kind, name)) for name in asked.names]
        if not missing and None in named:
            desk.documents.named((kind, asked.names[named.index(None)]))
        found = [stored for stored in named if stored is not None]
    if asked.labels:
        selector = parse_selector(asked.labels)
        found = [stored for stored in found if matches(selector, stored.labels)]
    if asked.bundle:
        desk.documents.named(("Bundle", asked.bundle))
        status = desk.known.status(("Bundle", asked.bundle))
        on = set(status.details.get("placed", ())) if status else set()
        found = [stored for stored in found if stored.name in on]
    ordered = sorted((stored for stored in found if stored.name > asked.after), key=lambda one: one.name)
    return _page(desk, ordered, version, limit=asked.limit, brief=not asked.names)


def _page(
    desk: Desk, found: Sequence[Stored], version: int, *, limit: int = 0, brief: bool = False
) -> api.ListResult:
    """The first rows, as many as are asked for and fit into one answer; always one at least."""
    now, size = desk.clock.now(), 0
    rows: list[api.Row] = []
    for stored in found:
        row = _row(desk, stored, now, brief=brief)
        size += len(row.to_bytes())
        if rows and (size > PAGE_BYTES or len(rows) == limit):
            return api.ListResult(rows=tuple(rows), version=version, more_after=found[len(rows) - 1].name)
        rows.append(row)
    return api.ListResult(rows=tuple(rows), version=version)


def _row(desk: Desk, stored: Stored, now: datetime, *, brief: bool = False) -> api.Row:
    status = shown_status(desk.known.status(stored.key))
    if brief and isinstance(details := status.get("details"), dict):
        status["details"] = {key: value for key, value in details.items() if key not in _ONE_BY_ONE}
    return api.Row(document=as_document(stored, status), live=_live(desk, stored, now))


def shown_status(status: Status | None) -> dict[str, Any]:
    """A status as an operator sees it: observedGeneration, conditions, details."""
    if status is None:
        return {}
    told = status.as_json()
    return {key: told[key] for key in ("observedGeneration", "conditions", "details") if key in told}


def _live(desk: Desk, stored: Stored, now: datetime) -> dict[str, Any]:
    live: dict[str, Any] = {}
    if stored.deleting is not None:
        live["deleting"] = stored.deleting.as_json()
    if stored.revoked is not None:
        live["revoked"] = stored.revoked.as_json()
    view = desk.known.cluster(stored.name) if stored.kind == CLUSTER else None
    if view is not None:
        live["connected"] = view.connected
        live["responsive"] = view.presence.responsive is True
        live["connections"] = view.connections
        live["published"] = list(view.published)
        if view.connection is not None:
            live["server"] = view.connection.server
            if view.connection.since is not None:
                live["connectedAt"] = view.connection.since.isoformat()
        if view.last_seen_at is not None:
            live["lastSeenAt"] = view.last_seen_at.isoformat()
            live["lastSeenS"] = round(max(0.0, (now - view.last_seen_at).total_seconds()), 1)
        if view.refused:
            live["refused"] = view.refused
    return live
