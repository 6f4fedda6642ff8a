"""Where the agent itself stands: what it has accepted and refused, and which of its parts fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fleetbus.schemas.approvals import ProtectionState


@dataclass(slots=True)
class Standing:
    """Written by the sides, read for the facts. Every real change sets `changed`."""

    accepted: tuple[int, int] = (0, 0)
    accepted_set: str = ""
    charter: tuple[int, int] = (0, 0)
    not_understood: tuple[str, ...] = ()
    refusals: dict[str, str] = field(default_factory=dict)
    """Mailbox → one sentence on the newest message, when that was refused."""
    failures: dict[str, str] = field(default_factory=dict)
    """Part → one sentence on why its last pass failed."""
    protection: ProtectionState | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def refused(self) -> str:
        return "; ".join(self.refusals[which] for which in sorted(self.refusals))

    def accept(self, accepted: tuple[int, int], accepted_set: str, not_understood: tuple[str, ...]) -> None:
        now = (accepted, accepted_set, not_understood)
        if now != (self.accepted, self.accepted_set, self.not_understood):
            self.accepted, self.accepted_set, self.not_understood = now
            self.changed.set()

    def trust(self, charter: tuple[int, int]) -> None:
        """By (epoch, version) the charter that counts here."""
        if charter != self.charter:
            self.charter = charter
            self.changed.set()

    def protect(self, protection: ProtectionState | None) -> None:
        """None: nothing here needs approvals."""
        if protection != self.protection:
            self.protection = protection
            self.changed.set()

    def refuse(self, which: str, sentence: str) -> None:
        """An empty sentence: the newest message was accepted."""
        self._note(self.refusals, which, sentence)

    def judge(self, part: str) -> Callable[[str], None]:
        """What a loop is to be given as its `judged`."""
        return lambda sentence: self._note(self.failures, part, sentence)

    def _note(self, notes: dict[str, str], key: str, sentence: str) -> None:
        if notes.get(key, "") == sentence:
            return
        if sentence:
            notes[key] = sentence
        else:
            del notes[key]
        self.changed.set()
