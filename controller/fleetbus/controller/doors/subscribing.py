"""The verb `events`: stored events in pages, to a subscriber only those of the types that its token names."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.controller.desk import Desk, Request
from fleetbus.runtime.ports import Message
from fleetbus.schemas import api, subjects
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.roles import granted_subjects
from fleetbus.schemas.streams import EVENTS

PAGE_BYTES = 256 * 1024
"""Of events in one answer, which grow where they are quoted in it."""


async def events(desk: Desk, request: Request) -> Mapping[str, object]:
    asked = api.EventsRequest.model_validate(parse_json(request.data))
    if request.types is None:
        wanted: tuple[str, ...] = (subjects.events_matching(asked.type),)
    else:
        wanted = granted_subjects(request.types, asked.type)
    newest = await _newest(desk)
    found = await _found(desk, wanted, asked) if asked.limit else []
    rows: list[api.EventRow] = []
    size = 0
    for message in found:
        size += len(message.data)
        if rows and size > PAGE_BYTES:
            break
        text = message.data.decode("utf-8", "backslashreplace")
        rows.append(api.EventRow(sequence=message.sequence, event=text))
    more = len(rows) < len(found) or len(found) == asked.limit > 0
    return api.EventsResult(rows=tuple(rows), more=more, newest=newest).as_json()


async def _found(desk: Desk, wanted: tuple[str, ...], asked: api.EventsRequest) -> list[Message]:
    """The first events of these subjects, each once. One subject after another, so that few are held at a time."""
    found: dict[int, Message] = {}
    for subject in wanted:
        page = await desk.bus.get_many(
            EVENTS.name, subject, after=asked.after, since=asked.since, limit=asked.limit
        )
        found |= {message.sequence: message for message in page}
        found = {sequence: found[sequence] for sequence in sorted(found)[: asked.limit]}
    return list(found.values())


async def _newest(desk: Desk) -> int:
    told = parse_json((await desk.bus.request(subjects.stream_info(EVENTS.name), b"")).data)
    state = told.get("state") if isinstance(told, dict) else None
    last = state.get("last_seq") if isinstance(state, dict) else None
    if not isinstance(last, int):
        raise MessageMalformed("the server does not say where the stream ends", where=EVENTS.name)
    return last
