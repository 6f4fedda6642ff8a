"""What was refused, as audit records: the first of a kind at once, what repeats itself as one count an interval.

Who floods the door fills his own places: at most MOST_KINDS + 1 records an interval for one key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from fleetbus.controller.audit import AuditChain, Author, Entry, refused
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.errors import FleetbusError, Transient

INTERVAL_S = 60.0
MOST_KINDS = 10
"""Different refusals of one key in an interval that each have a record; the others share one."""
MOST_KEYS = 200
"""Keys that are told apart; the others share one place."""

_log = structlog.get_logger("controller")

_Kind = tuple[str, str, str, str]
"""Action, object, code and message; all empty for the others."""
_OTHERS: _Kind = ("", "", "", "")


@dataclass(slots=True)
class _Seen:
    """A kind of refusal in its interval: the last one, and how many since `since` no record tells of."""

    entry: Entry
    until_s: float
    untold: int = 0
    since: datetime | None = None


class Refusals:
    """Counts, and writes what is due."""

    def __init__(self, audit: AuditChain, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._seen: dict[str, dict[_Kind, _Seen]] = {}

    async def add(self, author: Author, object_: str, error: FleetbusError) -> None:
        """Never raises but when cancelled: a refusal that cannot be recorded now is one all the same."""
        entry = refused(author, object_, error)
        kind = (author.action, entry.object, entry.code, entry.message)
        kinds = self._kinds(author.key or author.by)
        is_new = kind not in kinds
        if is_new and len(kinds) >= MOST_KINDS:
            kind = _OTHERS
        seen = kinds.setdefault(kind, _Seen(entry, self._clock.monotonic_s() + INTERVAL_S))
        if is_new and kind != _OTHERS and await self._write(entry):
            return
        seen.entry = entry
        seen.untold += 1
        seen.since = seen.since or self._clock.now()

    def _kinds(self, key: str) -> dict[_Kind, _Seen]:
        return self._seen.setdefault(key if len(self._seen) < MOST_KEYS or key in self._seen else "", {})

    async def run(self) -> None:
        """Write the counts when their interval is over, until cancelled."""
        while True:
            await self._clock.sleep(self._clock.jitter(INTERVAL_S / 6))
            await self.tell()

    async def tell(self) -> None:
        """Write the counts whose interval is over, and forget what was not refused again."""
        for key, kinds in list(self._seen.items()):
            for kind, seen in list(kinds.items()):
                if seen.until_s > self._clock.monotonic_s():
                    continue
                if not seen.untold:
                    del kinds[kind]
                    continue
                told, since = seen.untold, seen.since
                entry = _counted(seen, others=kind == _OTHERS)
                # What comes while this is written counts for the next.
                seen.untold, seen.since = 0, None
                if await self._write(entry):
                    seen.until_s = self._clock.monotonic_s() + INTERVAL_S
                else:
                    seen.untold, seen.since = seen.untold + told, since
            if not kinds:
                self._seen.pop(key, None)

    async def _write(self, entry: Entry) -> bool:
        try:
            await self._audit.write((), (entry,))
        except Transient as error:
            _log.warning(
                "a refusal is not in the audit chain yet",
                actor=entry.author.by,
                action=entry.author.action,
                count=entry.count,
                reason=error.sentence(),
            )
            return False
        return True


def _counted(seen: _Seen, *, others: bool) -> Entry:
    message = f"several kinds, the last of them: {seen.entry.message}" if others else seen.entry.message
    return replace(seen.entry, count=seen.untold, since=seen.since, message=message)
