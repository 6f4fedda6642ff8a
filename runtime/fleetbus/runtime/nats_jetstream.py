"""JetStream's API over one link: writes, direct gets, administration, and what its answers mean.

What a stored message says about itself (`Nats-Sequence`, a status line) was written by whoever published it;
the server adds its own headers at the end, so the last one counts, and a status counts only where the server's
sequence is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from fleetbus.runtime.nats_link import Answers, Link
from fleetbus.runtime.nats_wire import Delivery, whole_number
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import (
    BusUnavailable,
    FleetbusError,
    MessageMalformed,
    NotFound,
    SequenceConflict,
)

TIMEOUT_S = 5.0
BATCH_TIMEOUT_S = 10.0
MOST_IN_BATCH = 1000

_SEQUENCE = "Nats-Sequence"
_PREVIOUS = "Nats-Last-Sequence"
_PENDING = "Nats-Num-Pending"
_CONFLICTS = frozenset({10071, 10164})
_TOO_MANY = 429
"""A stream that is written to faster than it stores takes nothing from anybody for a moment."""
_UNKNOWN_STREAM = 10059
_NOT_FOUND, _END_OF_BATCH = "404", "204"


def refusal(error: dict[str, Any], where: str) -> FleetbusError:
    """An error of JetStream's in our tree."""
    number, code = error.get("err_code", 0), error.get("code", 0)
    said = str(error.get("description", "no reason given"))
    if number in _CONFLICTS:
        return SequenceConflict(said, where=where)
    if number == _UNKNOWN_STREAM or code == 404:
        return NotFound(said, where=where)
    if code >= 500 or code == _TOO_MANY:
        return BusUnavailable(said, where=where)
    return MessageMalformed(f"JetStream refuses it: {said}", where=where)


async def api(link: Link, verb: str, body: dict[str, Any], *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """One call such as `STREAM.INFO.STATE`. Raises NotFound for an unknown stream or consumer."""
    subject = subjects.jetstream_api(verb)
    delivery = await link.request(subject, orjson.dumps(body), timeout_s=timeout_s)
    return answered(delivery.data, subject)


def answered(data: bytes, where: str) -> dict[str, Any]:
    """An answer of JetStream's API. Raises what its `error` means, BusUnavailable when it is no answer."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError as cause:
        raise BusUnavailable("JetStream's answer is no JSON", where=where) from cause
    if not isinstance(said, dict):
        raise BusUnavailable("JetStream's answer is no object", where=where)
    if isinstance(error := said.get("error"), dict):
        raise refusal(error, where)
    return said


def put_headers(put: Put) -> dict[str, str]:
    """The headers that make a publish what `put` says."""
    headers = dict(put.headers)
    if put.expected is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(put.expected)
        if put.expected_subject is not None:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = put.expected_subject
    if put.ttl_s is not None:
        headers["Nats-TTL"] = f"{put.ttl_s}s"
    return headers


async def put(link: Link, put: Put) -> int:
    """Store one message; its sequence."""
    headers = put_headers(put)
    delivery = await link.request(put.subject, put.data, timeout_s=TIMEOUT_S, headers=headers or None)
    return _sequence(answered(delivery.data, put.subject), put.subject)


async def put_batch(link: Link, puts: Sequence[Put], identifier: str) -> int:
    """Store all or nothing; the last sequence. Nothing is awaited before the last message is sent."""
    if not 0 < len(puts) <= MOST_IN_BATCH:
        raise MessageMalformed(f"a batch holds 1 to {MOST_IN_BATCH} messages, not {len(puts)}")
    where = puts[-1].subject
    with link.question(where) as answers:
        for number, one in enumerate(puts, 1):
            headers = put_headers(one) | {"Nats-Batch-Id": identifier, "Nats-Batch-Sequence": str(number)}
            if number == len(puts):
                headers["Nats-Batch-Commit"] = "1"
            await link.connection.send(one.subject, one.data, reply=answers.reply, headers=headers)
        while True:
            # Each message but the last is acknowledged by nothing at all, or refused.
            delivery = await answers.next(BATCH_TIMEOUT_S)
            if delivery.data:
                return _sequence(answered(delivery.data, where), where)


def _sequence(acknowledged: dict[str, Any], where: str) -> int:
    sequence = acknowledged.get("seq")
    if not isinstance(sequence, int) or sequence <= 0:
        raise BusUnavailable("an answer that is no acknowledgement of JetStream's", where=where)
    return sequence


def stored(delivery: Delivery, sequence: int, subject: str, at: datetime | None) -> Message:
    return Message(subject, delivery.data, "", delivery.headers, sequence, at)


def stored_at(text: str) -> datetime | None:
    """The server's time stamp (RFC 3339, nanoseconds cut to microseconds); None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None


def _got(delivery: Delivery) -> Message | None:
    """The message in a direct get's answer; None when the answer says something else."""
    sequence = whole_number(delivery.headers.get(_SEQUENCE, ""))
    if not sequence:
        return None
    at = stored_at(delivery.headers.get("Nats-Time-Stamp", ""))
    return stored(delivery, sequence, delivery.headers.get("Nats-Subject", ""), at)


def _none_there(delivery: Delivery, where: str) -> None:
    if delivery.status != _NOT_FOUND:
        said = f"{delivery.status} {delivery.description}".strip() or "nothing"
        raise BusUnavailable(f"a direct get was answered with {said}", where=where)


async def get_last(link: Link, stream: str, subject: str) -> Message | None:
    where = subjects.direct_get(stream, subject)
    delivery = await link.request(where, b"", timeout_s=TIMEOUT_S)
    message = _got(delivery)
    if message is None:
        _none_there(delivery, where)
    return message


async def get_at(link: Link, stream: str, sequence: int) -> Message | None:
    where = subjects.direct_get(stream)
    delivery = await link.request(where, orjson.dumps({"seq": sequence}), timeout_s=TIMEOUT_S)
    message = _got(delivery)
    if message is None:
        _none_there(delivery, where)
    return message


async def get_many(
    link: Link, stream: str, subject: str, *, after: int, since: datetime | None, limit: int
) -> list[Message]:
    """Pages of the server's own size until `limit` are there or none are left."""
    found: list[Message] = []
    if since is not None:
        # The server refuses a sequence and a time in one request.
        start = await _page(link, stream, {"start_time": since.isoformat(), "next_by_subj": subject}, 1)
        if not start[0]:
            return []
        after = max(after, start[0][0].sequence - 1)
    while len(found) < limit:
        request = {"seq": after + 1, "next_by_subj": subject}
        page, left = await _page(link, stream, request, min(limit - len(found), MOST_IN_BATCH))
        found += page
        if not page or not left:
            break
        after = page[-1].sequence
    return found


async def _page(link: Link, stream: str, request: dict[str, Any], batch: int) -> tuple[list[Message], int]:
    """One batch direct get: its messages, and how many more there are."""
    where = subjects.direct_get(stream)
    with link.question(where) as answers:
        body = orjson.dumps(request | {"batch": batch})
        await link.connection.send(where, body, reply=answers.reply)
        return await _collected(answers, where)


async def _collected(answers: Answers, where: str) -> tuple[list[Message], int]:
    page: list[Message] = []
    while True:
        delivery = await answers.next(TIMEOUT_S)
        message = _got(delivery)
        previous = whole_number(delivery.headers.get(_PREVIOUS, ""))
        if message is None and delivery.status != _END_OF_BATCH:
            _none_there(delivery, where)
            return page, 0
        if page and previous != page[-1].sequence:
            raise BusUnavailable("a part of a batch was lost on the way", where=where)
        if message is None:
            return page, whole_number(delivery.headers.get(_PENDING, ""))
        page.append(message)


async def purge(link: Link, stream: str, subject: str) -> tuple[int, list[str], int]:
    """Remove what stands on `subject` now: how many, which subjects, and up to which sequence."""
    told = await api(link, f"STREAM.INFO.{stream}", {"subjects_filter": subject})
    last = int(told["state"]["last_seq"])
    names = sorted(told["state"].get("subjects") or {})
    body = {"filter": subject, "seq": last + 1}
    purged = await api(link, f"STREAM.PURGE.{stream}", body)
    return int(purged.get("purged", 0)), names, last
