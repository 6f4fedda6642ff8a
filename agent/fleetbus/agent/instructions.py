"""What each capability is told now: the sides write it, the workers' loops read it and are woken by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetbus.agent.ports import Told
from fleetbus.schemas.desired import Retired


@dataclass(slots=True)
class _Line:
    """What stands for one capability. `version` counts contents, `stirred` also halts."""

    content: Any | None = None
    retired: tuple[Retired, ...] = ()
    identity: object = None
    version: int = 0
    stirred: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Instructions:
    """The accepted word for every capability, with the halts that count for all of them."""

    def __init__(self, capabilities: Sequence[str]) -> None:
        self._lines = {name: _Line() for name in capabilities}
        self._halts: tuple[str, ...] = ()
        self.may_prune: Callable[[str, int], bool] = lambda id, count: True

    def told(self, capability: str) -> Told:
        line = self._lines[capability]
        version = line.version
        return Told(
            line.content, line.retired, lambda: self._halts, lambda: line.version != version, self.may_prune
        )

    def stirred(self, capability: str) -> int:
        """Counts everything that should make the capability look again."""
        return self._lines[capability].stirred

    async def changed(self, capability: str, seen: int) -> None:
        """Returns once `stirred` differs from `seen`."""
        line = self._lines[capability]
        while line.stirred == seen:
            line.changed.clear()
            await line.changed.wait()

    def tell(
        self, capability: str, content: Any | None, retired: Sequence[Retired], identity: object
    ) -> None:
        """Replace what stands; the same `identity` and retirements as before change nothing."""
        line = self._lines[capability]
        if line.identity == identity and line.retired == tuple(retired) and line.version:
            return
        line.content, line.retired, line.identity = content, tuple(retired), identity
        line.version += 1
        _stir(line)

    def halt(self, halts: tuple[str, ...]) -> None:
        if halts != self._halts:
            self._halts = halts
            self.stir()

    def stir(self) -> None:
        """Have every capability look again."""
        for line in self._lines.values():
            _stir(line)


def _stir(line: _Line) -> None:
    line.stirred += 1
    line.changed.set()
