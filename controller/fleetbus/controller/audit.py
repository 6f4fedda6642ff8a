"""The audit chain: the only way in which a record is written, alone or in one atomic batch with what it tells of.

A record's subject holds its number and expects that nothing stands there. So of two controllers that continue the same
record one is refused, with all that it meant to write, and continues the other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from nacl.signing import SigningKey

from fleetbus.controller.decisions.edits import document_edits
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.api import MAX_REASON
from fleetbus.schemas.audit import (
    MOST_NUMBER,
    ORIGIN,
    OUTCOME_DONE,
    OUTCOME_REFUSED,
    AuditRecord,
    Edit,
    Link,
    sealed,
)
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.errors import FleetbusError, SequenceConflict
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer, verify
from fleetbus.schemas.streams import AUDIT, DOCUMENTS

MOST_OBJECT = 320
_MOST_MESSAGE = 512
_ATTEMPTS = 5
_PAUSE_S = 0.05
_LOOK_BACK = 512
"""How far back in the stream the newest record of ours is looked for, among those that somebody else put there."""
_MOST_OF_OTHERS = MOST_NUMBER // 2
"""No chain is as long: who has stolen a key and gives a record the last number would have the chain end there."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, by which action, and why. `key`: the public nkey as the server says it; empty for a folder's.

    `statement`: what that key has signed of it; empty when nobody has to.
    """

    by: str
    action: str
    reason: str = ""
    key: str = ""
    statement: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a record tells, but for its place in the chain and its time."""

    author: Author
    object: str = ""
    outcome: str = OUTCOME_DONE
    generation_before: int = 0
    generation_after: int = 0
    before: str = ""
    after: str = ""
    edits: tuple[Edit, ...] = ()
    edits_left_out: int = 0
    code: str = ""
    message: str = ""
    count: int = 1
    since: datetime | None = None


def changed(before: Stored | None, after: Stored, author: Author) -> Entry:
    """The entry for a document that is written. Pure."""
    edits, left_out = document_edits(before, after)
    return Entry(
        author=author,
        object=f"{after.kind.lower()}/{after.name}",
        generation_before=before.generation if before else 0,
        generation_after=after.generation,
        before=digest(before.to_bytes()) if before else "",
        after=digest(after.to_bytes()),
        edits=edits,
        edits_left_out=left_out,
    )


def refused(author: Author, object_: str, error: FleetbusError) -> Entry:
    """The entry for what was refused. Pure; what somebody else may have written is cleaned and bounded."""
    return Entry(
        author=author,
        object=cleaned(object_, MOST_OBJECT),
        outcome=OUTCOME_REFUSED,
        code=error.error_code,
        message=cleaned(error.sentence(), _MOST_MESSAGE),
    )


class AuditChain:
    """Continues the fleet's chain, one batch at a time."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        fleet: str,
        key: SigningKey,
        former: Collection[str] = (),
        beside: Collection[str] = (),
    ) -> None:
        """`former`: public keys that have signed the chain before; `beside`: those that may sign it as well now."""
        self.public_key = public_key(key)
        self._present = tuple(dict.fromkeys((self.public_key, *beside)))
        self.keys = tuple(dict.fromkeys((*self._present, *former)))
        """Those that have signed it: the present one first."""
        self._bus = bus
        self._clock = clock
        self._fleet = fleet
        self._sign = signer(key)
        self._newest: Link | None = None
        self._lock = asyncio.Lock()

    async def newest(self) -> Link:
        """The newest record, ORIGIN for none. Raises BusUnavailable."""
        async with self._lock:
            if self._newest is None:
                self._newest = await self._find()
            return self._newest

    async def write(self, puts: Sequence[Put], entries: Sequence[Entry]) -> int:
        """All of `puts` (to DOCUMENTS) and a record for each entry, or nothing; the first put's sequence.

        Raises SequenceConflict when a put's expectation fails, BusUnavailable when it is not known whether it was
        written.
        """
        async with self._lock:
            for attempt in range(_ATTEMPTS):
                # Without an acknowledgement it is not known where the chain ends.
                newest, self._newest = self._newest, None
                newest = newest or await self._find()
                records, end = self._records(newest, entries)
                try:
                    last = await self._bus.put_batch([*puts, *records])
                except SequenceConflict:
                    found = max(await self._find(), newest, key=lambda link: link.number)
                    if attempt == _ATTEMPTS - 1 or (puts and found == newest):
                        self._newest = found
                        raise
                    self._newest = found
                    await self._clock.sleep(self._clock.jitter(_PAUSE_S))
                    continue
                self._newest = end
                return last - len(puts) - len(records) + 1
        raise AssertionError("unreachable")

    def _records(self, newest: Link, entries: Sequence[Entry]) -> tuple[list[Put], Link]:
        puts: list[Put] = []
        for entry in entries:
            subject, envelope, newest = sealed(self._record(newest, entry), self._sign)
            puts.append(Put(subject, envelope, expected=0))
        return puts, newest

    def _record(self, newest: Link, entry: Entry) -> AuditRecord:
        author = entry.author
        return AuditRecord(
            fleet=self._fleet,
            number=newest.number + 1,
            previous=newest.digest,
            at=self._clock.now(),
            actor=cleaned(author.by, MOST_OBJECT),
            key=cleaned(author.key, 80),
            statement=author.statement or None,
            action=author.action,
            object=entry.object,
            outcome=entry.outcome,
            reason=cleaned(author.reason, MAX_REASON),
            generation_before=entry.generation_before,
            generation_after=entry.generation_after,
            before=entry.before,
            after=entry.after,
            edits=entry.edits,
            edits_left_out=entry.edits_left_out,
            code=entry.code,
            message=entry.message,
            count=entry.count,
            since=entry.since,
        )

    async def _find(self) -> Link:
        """The newest record in either stream: one that lags or was purged does not send the chain back."""
        found = [await self._newest_in(stream) for stream in (DOCUMENTS.name, AUDIT.name)]
        return max(found, key=lambda link: link.number)

    async def _newest_in(self, stream: str) -> Link:
        last = await self._bus.get_last(stream, subjects.ALL_AUDITS)
        if last is None:
            return ORIGIN
        after = max(0, last.sequence - _LOOK_BACK)
        recent = await self._bus.get_many(stream, subjects.ALL_AUDITS, after=after, limit=_LOOK_BACK)
        # A former key's count until a present one has signed. After a change of keys that nobody has told of, none
        # is signed by one that is known.
        judged = ((self._present, MOST_NUMBER), (self.keys, _MOST_OF_OTHERS), (None, _MOST_OF_OTHERS))
        for keys, below in judged:
            found = [link for one in (*recent, last) if (link := _link(one, keys)) and link.number < below]
            if found:
                return max(found, key=lambda link: link.number)
        return ORIGIN


def _link(message: Message, keys: Collection[str] | None) -> Link | None:
    """Where a record stands, if one of `keys` has signed it; None for all of them: whoever has."""
    number = subjects.parse_audit(message.subject)
    if number is None:
        return None
    if keys is not None:
        try:
            verify(message.subject, message.data, keys)
        except FleetbusError:
            return None
    return Link(number, digest(message.data.partition(b"\n")[2]))
