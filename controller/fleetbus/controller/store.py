"""Documents in their stream: each write by compare-and-set, with its audit record in the same atomic batch.

The stream's history is the documents' history. What is known of them comes from following the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from fleetbus.controller.audit import AuditChain, Author, Entry, changed
from fleetbus.controller.ports import Key
from fleetbus.controller.seal import Seal
from fleetbus.controller.views import Known
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.api import Applied
from fleetbus.schemas.documents import Document, Stored
from fleetbus.schemas.errors import (
    DocumentInvalid,
    MessageMalformed,
    NotFound,
    NotPossible,
    SequenceConflict,
    SignatureRefused,
)
from fleetbus.schemas.streams import DOCUMENTS

MOST_AT_ONCE = 400
_ATTEMPTS = 3
_MOMENT = timedelta(microseconds=1)

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class Beside:
    """One more write to DOCUMENTS in the same batch; `written` is given its sequence."""

    put: Put
    written: Callable[[int], None]
    entry: Entry
    """Its audit record when no document changes."""


def merged(
    wanted: Document,
    before: Stored | None,
    identifier: Callable[[], str],
    now: Any,
    *,
    joining: bool = False,
) -> Stored:
    """The document as it is to be stored; equal to `before` but for its times when nothing changes. Pure.

    The generation counts changes of spec and a revocation; labels and annotations do not move it. What verbs
    have set (`deleting`, `released_prune`, `revoked`) no apply changes. `joining`: a cluster that left joins again, as
    a new document. Raises Refused for one that is being deleted.
    """
    name, spec = wanted.metadata.name, wanted.spec.as_json()
    labels, annotations = wanted.metadata.labels, wanted.metadata.annotations
    if before is None or (joining and before.deleting is not None and before.deleting.stays):
        if before is not None:
            now = max(now, before.updated_at + _MOMENT)
        return Stored(
            kind=wanted.kind,
            name=name,
            uid=identifier(),
            generation=1,
            labels=labels,
            annotations=annotations,
            created_at=now,
            updated_at=now,
            spec=spec,
        )
    if before.deleting is not None:
        raise _is_going(before)
    update = {"labels": labels, "annotations": annotations, "spec": spec}
    return _updated(before, before.model_copy(update=update), now)


def _is_going(stored: Stored) -> NotPossible:
    left = stored.deleting.left if stored.deleting else None
    if left is not None and left.stays:
        return NotPossible(
            f"cluster {stored.name} was {left.how}",
            remedy=f"let it join again with a new token: fleetbus cluster join {stored.name}",
        )
    return NotPossible(
        f"{stored.kind} {stored.name} is being deleted", remedy="wait until it is gone, then apply it again"
    )


def _updated(before: Stored, after: Stored, now: Any) -> Stored:
    """`after` with generation and time as they have to be; `before` itself when they are equal."""
    if after == before:
        return before
    generation = before.generation + ((after.spec, after.revoked) != (before.spec, before.revoked))
    # A clock that goes back must not make a later form look like an earlier one, which followers refuse.
    at = max(now, before.updated_at + _MOMENT)
    return after.model_copy(update={"generation": generation, "updated_at": at})


class Documents:
    """Writes documents and puts them into what is known."""

    def __init__(self, bus: Bus, known: Known, clock: Clock, audit: AuditChain, seal: Seal) -> None:
        self._bus = bus
        self._seal = seal
        self._audit = audit
        self._known = known
        self._clock = clock

    async def apply(
        self,
        wanted: Sequence[Document],
        author: Author,
        *,
        dry_run: bool = False,
        beside: Beside | None = None,
        joining: bool = False,
        permit: Callable[[Stored | None, Stored], None] = lambda before, after: None,
    ) -> list[Applied]:
        """All or none. `permit` is told each change before it is written, and may raise.

        `joining`: a cluster that left the fleet becomes a member again.

        Raises Refused, SequenceConflict, BusUnavailable.
        """
        if len(wanted) > MOST_AT_ONCE:
            raise DocumentInvalid(f"{len(wanted)} documents at once are more than {MOST_AT_ONCE}")
        keys = [(one.kind, one.metadata.name) for one in wanted]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DocumentInvalid(f"{twice[0]} {twice[1]} is given twice")
        for attempt in range(_ATTEMPTS):
            now = self._clock.now()
            pairs = [
                (before, merged(one, before, self._clock.identifier, now, joining=joining))
                for one, key in zip(wanted, keys, strict=True)
                for before in (self._known.document(key),)
            ]
            changed = [(before, after) for before, after in pairs if after is not before]
            for before, after in changed:
                permit(before, after)
            if dry_run or not (changed or beside):
                break
            try:
                await self._write(changed, author, beside)
                break
            except SequenceConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                for _, after in changed:
                    await self._read_again(after.key)
        return [_applied(before, after) for before, after in pairs]

    async def amend(
        self,
        key: Key,
        amend: Callable[[Stored], Stored],
        author: Author,
        *,
        beside: Beside | None = None,
    ) -> Stored:
        """Change one stored document; its newest form after that. `amend` is pure and may raise.

        `beside` is written in the same batch, also when the document stays as it is.

        Raises NotFound, SequenceConflict, BusUnavailable.
        """
        for attempt in range(_ATTEMPTS):
            before = self.named(key)
            after = _updated(before, amend(before), self._clock.now())
            if after is before and beside is None:
                return before
            try:
                await self._write([(before, after)] if after is not before else [], author, beside)
                return after
            except SequenceConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                await self._read_again(key)
        raise AssertionError("unreachable")

    def named(self, key: Key) -> Stored:
        """Raises NotFound."""
        stored = self._known.document(key)
        if stored is None:
            raise NotFound(
                f"there is no {key[0]} `{key[1][:80]}`", remedy=f"see `fleetbus get {key[0].lower()}`"
            )
        return stored

    async def remove(self, key: Key) -> None:
        """Take the document away for good, with its history."""
        subject = _subject(key)
        await self._bus.purge(DOCUMENTS.name, subject)
        self._known.forget(subject)
        self._known.drop_document(key)

    async def _write(
        self, changes: Sequence[tuple[Stored | None, Stored]], author: Author, beside: Beside | None = None
    ) -> None:
        puts = [
            Put(subject, self._seal.sign(subject, after.to_bytes()), expected=self._known.sequence(subject))
            for _, after in changes
            for subject in (_subject(after.key),)
        ]
        entries = [changed(before, after, author) for before, after in changes]
        if beside is not None:
            puts.append(beside.put)
            entries = entries or [beside.entry]
        first = await self._audit.write(puts, entries)
        if beside is not None:
            beside.written(first + len(changes))
        for sequence, (_, after) in enumerate(changes, first):
            if self._known.newer(_subject(after.key), sequence):
                self._known.put_document(after)

    async def _read_again(self, key: Key) -> None:
        """Somebody else wrote: take what stands there now, as far as a replica that may lag shows it."""
        subject = _subject(key)
        last = await self._bus.get_last(DOCUMENTS.name, subject)
        if last is not None and self._known.newer(subject, last.sequence):
            try:
                self._known.put_document(Stored.from_bytes(self._seal.opened(subject, last.data)))
            except SignatureRefused as error:
                # What is known stays, and the next write takes the place of what somebody else put there.
                _log.warning(
                    "a document that is not ours will be written anew", where=subject, reason=str(error)
                )
            except MessageMalformed as error:
                raise NotPossible(
                    "what is stored under this name is no document", where=subject, remedy="delete it first"
                ) from error


def _applied(before: Stored | None, after: Stored) -> Applied:
    verb = "created" if before is None else "unchanged" if after is before else "configured"
    return Applied.model_validate(
        {"kind": after.kind, "name": after.name, "verb": verb, "generation": after.generation}
    )


def _subject(key: Key) -> str:
    return subjects.document(key[0].lower(), key[1])
