"""Audit records: who did what, or was refused it. Each names the one before it by digest, and the controller signs it.

A record's digest is the sha256 of its canonical bytes, which its signature covers together with its subject. So who
owns the bus can neither change, reorder nor leave out one in the middle; what is cut off at the end shows only to
whoever has kept a later `Link`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from pydantic import Field

from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import canonical, digest, parse_json
from fleetbus.schemas.errors import FleetbusError, MessageMalformed, SignatureRefused
from fleetbus.schemas.models import Count, Moment, Received
from fleetbus.schemas.requests import actions_of, stated_by
from fleetbus.schemas.signing import Sign, unverified, verify

OUTCOME_DONE: Final = "done"
"""Written in the same atomic batch as the change."""
OUTCOME_ORDERED: Final = "ordered"
"""Written before an effect that lies outside of the documents: no effect without the record."""
OUTCOME_REFUSED: Final = "refused"
OUTCOMES: Final = (OUTCOME_DONE, OUTCOME_ORDERED, OUTCOME_REFUSED)

MOST_NUMBER: Final = 2**53
MOST_FINDINGS = 50

ACTED_ON_WITHIN: Final = timedelta(minutes=5)
"""A request is accepted within a minute, and acted on at once or after what it waits for."""
_NO_PEOPLE: Final = ("cluster/", "directory:", "fleet:")
"""So begin the names of those who act and sign no requests."""


class Edit(Received):
    """One field that changed. Values are JSON text, None for absent; a long one is named by its digest."""

    path: str
    before: str | None = None
    after: str | None = None


class AuditRecord(Received):
    """One link of the chain. `key`: the actor's public nkey as the server said it, empty for what did not come
    over the bus. `statement`: what that key has signed (`requests.Statement`), for whatever an operator changed.
    `count`: how many refusals of one kind since `since` this one stands for.
    """

    fleet: str
    number: int = Field(ge=1, le=MOST_NUMBER)
    previous: str
    """Digest of the record before it."""
    at: Moment
    actor: str
    key: str = ""
    statement: str | None = None
    action: str
    object: str = ""
    outcome: str
    reason: str = ""
    generation_before: int = 0
    generation_after: int = 0
    before: str = ""
    """Digest of the stored document, empty for none."""
    after: str = ""
    edits: tuple[Edit, ...] = ()
    edits_left_out: int = 0
    code: str = ""
    message: str = ""
    count: Count = 1
    since: Moment | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: a record's number and digest."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


ORIGIN: Final = Link(0, "0" * 64)
"""What the first record continues."""


def parse_link(text: str) -> Link:
    """Inverse of `str`. Raises MessageMalformed."""
    number, colon, told = text.partition(":")
    if (
        not colon
        or not number.isdecimal()
        or len(number) > 16
        or len(told) != 64
        or not set(told) <= _HEXADECIMAL
    ):
        raise MessageMalformed(f"`{text[:80]}` is no place in the chain; write NUMBER:DIGEST")
    return Link(int(number), told)


_HEXADECIMAL = frozenset("0123456789abcdef")


def sealed(record: AuditRecord, sign: Sign) -> tuple[str, bytes, Link]:
    """The subject, the signed bytes and the place in the chain of a record."""
    subject, content = subjects.audit(record.number), record.to_bytes()
    return subject, sign(subject, content), Link(record.number, digest(content))


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with the chain at a number."""

    number: int
    message: str


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a chain was looked at. `last` None: it may begin anywhere; ORIGIN: it must begin with the first.

    At most MOST_FINDINGS are kept, all are counted. `unsigned`: changes in an operator's name that he has not signed.
    `is_present`: a present key has signed, so from here on no former one counts.
    """

    last: Link | None = ORIGIN
    first: int = 0
    records: int = 0
    wrong: int = 0
    unsigned: int = 0
    is_present: bool = False
    findings: tuple[Finding, ...] = ()

    def found(self, number: int, message: str) -> Walk:
        kept = self.findings if self.wrong >= MOST_FINDINGS else (*self.findings, Finding(number, message))
        return replace(self, findings=kept, wrong=self.wrong + 1)


def step(
    walk: Walk,
    subject: str,
    envelope: bytes,
    keys: Collection[str] | None,
    fleet: str = "",
    former: Collection[str] = (),
) -> Walk:
    """The walk with one record more, in the order in which they are stored.

    `keys` None: whoever signed it; `fleet` empty: of whichever. `former` keys count until one of `keys` has signed:
    whoever has stolen one of them could write the chain's end anew otherwise.
    """
    number = subjects.parse_audit(subject)
    if number is None:
        return walk.found(0, "it stands under a subject that is no record's")
    walk = replace(walk, first=walk.first or number, records=walk.records + 1)
    content = envelope.partition(b"\n")[2]
    here = Link(number, digest(content))
    try:
        walk, signed = _opened(walk, subject, envelope, keys, former)
        record = AuditRecord.from_bytes(signed)
    except FleetbusError as error:
        return _continued(walk.found(number, error.message), here)
    walk = _signed_by_its_actor(walk, record)
    if record.number != number:
        walk = walk.found(number, f"it is record {record.number} under another's subject")
    if fleet and record.fleet != fleet:
        walk = walk.found(number, f"it is of fleet `{record.fleet[:80]}`")
    last = walk.last
    if last is not None and number == last.number + 1 and record.previous != last.digest:
        walk = walk.found(number, f"it does not continue record {last.number} as that stands")
    return _continued(walk, here)


def _opened(
    walk: Walk, subject: str, envelope: bytes, keys: Collection[str] | None, former: Collection[str]
) -> tuple[Walk, bytes]:
    """Raises Refused when nobody signed it who may sign this far."""
    if keys is None:
        return walk, unverified(envelope)
    try:
        signed = verify(subject, envelope, keys)
    except SignatureRefused as error:
        if not former:
            raise
        signed = verify(subject, envelope, former)
        if walk.is_present:
            raise SignatureRefused(
                "a former key signed it, after the present one had signed others"
            ) from error
        return walk, signed
    return replace(walk, is_present=True), signed


def _signed_by_its_actor(walk: Walk, record: AuditRecord) -> Walk:
    """Held against what an operator has signed of it; the controller's word alone is counted."""
    who, number = record.actor[:80], record.number
    if record.statement is None:
        unsigned = record.outcome != OUTCOME_REFUSED and not record.actor.startswith(_NO_PEOPLE)
        return replace(walk, unsigned=walk.unsigned + 1) if unsigned else walk
    try:
        statement = stated_by(record.statement, record.key)
    except FleetbusError as error:
        return walk.found(number, f"{who} did not sign what it tells: {error.message}")
    if record.action not in actions_of(statement.verb):
        return walk.found(number, f"{who} has signed `{statement.verb}`, not {record.action[:80]}")
    if abs(record.at - statement.at) > ACTED_ON_WITHIN:
        return walk.found(
            number, f"{who} has signed it at another time: {statement.at:%Y-%m-%d %H:%M:%S} UTC"
        )
    return walk


def _continued(walk: Walk, here: Link) -> Walk:
    last = walk.last
    if last is not None and here.number <= last.number:
        return walk.found(here.number, f"it stands after record {last.number}: twice, or out of order")
    if last is not None and here.number > last.number + 1:
        first, end = last.number + 1, here.number - 1
        missing = f"record {first} is missing" if first == end else f"records {first} to {end} are missing"
        walk = walk.found(first, missing)
    return replace(walk, last=here)


def ended(walk: Walk, newest: Link | None) -> Walk:
    """The walk at the end of what there was, held against the newest place that is known from elsewhere."""
    last = walk.last
    if newest is None or newest == last:
        return walk
    if last is None:
        return walk.found(newest.number, "there is no record at all, but it was seen before")
    if newest.number == last.number:
        return walk.found(newest.number, "it is not the record of that number that was seen before")
    if newest.number > last.number:
        return walk.found(
            last.number + 1, f"the chain ends at {last.number}, but {newest.number} was seen before"
        )
    return walk


def passed(walk: Walk, anchor: Link | None) -> Walk:
    """The walk, with a finding when it stands at the anchor's number with another digest."""
    last = walk.last
    if anchor is None or last is None or last.number != anchor.number or last == anchor:
        return walk
    return walk.found(anchor.number, "it is not the record of that number that was seen before")


# Lines of an export


def exported(subject: str, envelope: bytes, newest: Link) -> dict[str, Any]:
    """One line: the record as it can be read, and what proves it. Inverse of `imported` for what is signed.

    `newest`: the end of the chain when the line was written. Raises MessageMalformed for what is no record.
    """
    head, _, content = envelope.partition(b"\n")
    return {
        "subject": subject,
        "record": parse_json(content),
        "digest": digest(content),
        "signed": head.decode("ascii", "backslashreplace"),
        "newest": str(newest),
    }


def imported(line: Mapping[str, Any]) -> tuple[str, bytes, Link]:
    """Subject, envelope and newest place of an exported line. Raises MessageMalformed."""
    subject, signed, newest = line.get("subject"), line.get("signed"), line.get("newest")
    if not (isinstance(subject, str) and isinstance(signed, str) and isinstance(newest, str)):
        raise MessageMalformed("not a line of an export: subject, signed or newest is missing")
    content = canonical(line.get("record"))
    if line.get("digest") != digest(content):
        raise MessageMalformed("the line's digest is not its record's")
    return subject, signed.encode() + b"\n" + content, parse_link(newest)
