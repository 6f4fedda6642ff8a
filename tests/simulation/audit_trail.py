"""What must be true of the audit chain after every single store: it continues itself, and no document goes untold."""

from __future__ import annotations

from collections.abc import Iterator

from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.audit import AuditRecord, Walk, step
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.signing import unverified


class AuditTrail:
    """Follows DOCUMENTS; `take` yields a sentence for what is wrong."""

    def __init__(self, controller_key: str) -> None:
        self._keys = {controller_key}
        self._walk = Walk()
        self._untold: set[tuple[str, str]] = set()
        self._telling = False

    def take(self, message: Message) -> Iterator[str]:
        if subjects.parse_audit(message.subject) is None:
            yield from self._take_document(message)
            return
        self._telling = True
        before = self._walk.wrong
        self._walk = step(self._walk, message.subject, message.data, self._keys)
        if self._walk.wrong > before:
            yield f"the audit chain is broken at {message.subject}: {self._walk.findings[-1].message}"
        record = AuditRecord.from_bytes(unverified(message.data))
        self._untold.discard((record.object, record.after))

    def _take_document(self, message: Message) -> Iterator[str]:
        """The records of a batch stand behind its documents."""
        if self._telling and self._untold:
            yield f"{sorted(self._untold)} were written without a record"
            self._untold.clear()
        self._telling = False
        document = subjects.parse_document(message.subject)
        if document is not None:
            self._untold.add((f"{document.kind}/{document.name}", digest(unverified(message.data))))
