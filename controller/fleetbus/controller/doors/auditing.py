"""The verb `audit`, and what becomes a record of the requests that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fleetbus.controller.desk import Desk, Request
from fleetbus.runtime.ports import Message
from fleetbus.schemas import api, subjects
from fleetbus.schemas.audit import AuditRecord, Link
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.catalogue import kind_named
from fleetbus.schemas.errors import (
    BusUnavailable,
    FleetbusError,
    MessageMalformed,
    NotPermitted,
    TimeoutExpired,
)
from fleetbus.schemas.requests import actions_of
from fleetbus.schemas.roles import VIEWER, verbs_of
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.streams import AUDIT

PAGE_BYTES = 256 * 1024
"""Of records in one answer, which grow where they are quoted in it."""
MOST_LOOKED_AT = 500
"""Records that one request may look through for those that fit."""
_COPIED_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.02
_READING = frozenset(verbs_of(VIEWER))
_KINDS = {"revoke": "secretbinding", "retire": "cluster"}
"""Of verbs whose request names an object of one kind only."""


async def audit(desk: Desk, request: Request) -> Mapping[str, object]:
    """A page of the records that fit, after those that were written before have been copied."""
    asked = api.AuditRequest.model_validate(parse_json(request.data))
    newest = await desk.audit.newest()
    await _copied(desk, newest)
    messages, position, more = await _page(desk, asked, await _start(desk, asked))
    rows = tuple(
        api.AuditRow(
            subject=message.subject,
            envelope=message.data.decode("utf-8", "backslashreplace"),
            stored_at=message.stored_at.isoformat() if message.stored_at else "",
        )
        for message in messages
    )
    return api.AuditResult(
        rows=rows,
        position=position,
        more=more,
        newest=str(newest),
        fleet=desk.known.fleet,
        keys=desk.audit.keys,
    ).as_json()


async def _copied(desk: Desk, newest: Link) -> None:
    """Until the server has copied the newest record; not for long, since who reads sees what is missing."""
    if not newest.number:
        return
    try:
        async with asyncio.timeout(_COPIED_WITHIN_S):
            while await desk.bus.get_last(AUDIT.name, subjects.audit(newest.number)) is None:
                await desk.clock.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        return


async def _start(desk: Desk, asked: api.AuditRequest) -> int:
    """The place in the stream behind which the page begins."""
    if asked.position or not asked.after:
        return asked.position
    found = await desk.bus.get_many(AUDIT.name, subjects.audit(asked.after), limit=1)
    return found[0].sequence if found else 0


async def _page(desk: Desk, asked: api.AuditRequest, position: int) -> tuple[list[Message], int, bool]:
    """Records that fit, the place behind what was looked at, and whether there is more behind it."""
    since = asked.since if not position else None
    found = await desk.bus.get_many(
        AUDIT.name, subjects.ALL_AUDITS, after=position, since=since, limit=MOST_LOOKED_AT
    )
    kept: list[Message] = []
    size = 0
    for message in found:
        if _fits(message, asked):
            size += len(message.data) + 256
            if kept and (size > PAGE_BYTES or len(kept) == asked.limit):
                return kept, position, True
            kept.append(message)
        position = message.sequence
    return kept, position, len(found) == MOST_LOOKED_AT


def _fits(message: Message, asked: api.AuditRequest) -> bool:
    if not (asked.actor or asked.action or asked.object):
        return True
    try:
        record = AuditRecord.from_bytes(unverified(message.data))
    except FleetbusError:
        return True
    return all(
        not wanted or wanted == told
        for wanted, told in (
            (asked.actor, record.actor),
            (asked.action, record.action),
            (asked.object, record.object),
        )
    )


async def note(desk: Desk, verb: str, request: Request, error: FleetbusError) -> None:
    """A record of a request that was refused: of every one that would change something, or that nobody may make."""
    if isinstance(error, (BusUnavailable, TimeoutExpired)):
        return
    body = _body(request)
    if not isinstance(error, NotPermitted) and _reads(verb, body):
        return
    named = f"{verb}-{body.get('action')}"
    actions = actions_of(verb)
    action = named if named in actions else actions[0]
    reason = body.get("reason")
    author = request.author(action, reason if isinstance(reason, str) else "")
    await desk.refusals.add(author, _object(verb, body), error)


def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = parse_json(request.data)
    except MessageMalformed:
        return {}
    return body if isinstance(body, dict) else {}


def _reads(verb: str, body: Mapping[str, Any]) -> bool:
    return verb in _READING or (verb == "apply" and body.get("dryRun") is True)


def _object(verb: str, body: Mapping[str, Any]) -> str:
    """What the request was about, as far as it says so; of several documents the first."""
    documents = body.get("documents")
    if verb == "apply" and isinstance(documents, Sequence) and documents:
        first = documents[0] if isinstance(documents[0], dict) else {}
        metadata = first.get("metadata")
        return _named(first.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None)
    if verb == "command":
        return _named("command", body.get("id"))
    return _named(_KINDS.get(verb, body.get("kind")), body.get("name"))


def _named(kind: object, name: object) -> str:
    if not isinstance(kind, str) or not kind:
        return ""
    word = (kind_named(kind) or kind).lower()
    return f"{word}/{name}" if isinstance(name, str) and name else word
