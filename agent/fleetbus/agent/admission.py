"""Which set counts in this cluster: the one that it was told, or while approvals are missing the one before it.

What only takes away needs no approval: a retirement that stands no longer, a secret that was revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from fleetbus.agent.ports import Artifacts
from fleetbus.agent.protection import Protection
from fleetbus.schemas.canonical import canonical, digest, parse_json
from fleetbus.schemas.desired import DesiredSet, Head, SectionRef
from fleetbus.schemas.errors import Refused, Terminal

Withdraws = Mapping[str, Callable[[Any, Any], Any]]
"""Capability → its `withdraws`."""

log = structlog.get_logger("desired")


@dataclass(frozen=True, slots=True)
class Counting:
    """`set` counts, empty for none; in place of some of its sections (by capability) what is left of them."""

    set: str
    left: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Less:
    """`left`: what is left of the sections that lose something. `is_all`: nothing else is told."""

    left: Mapping[str, Any] = field(default_factory=dict)
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """What deciding needs: the protection, the artifacts, and what each capability lets be taken away."""

    protection: Protection
    artifacts: Artifacts
    withdraws: Withdraws

    async def admit(self, head: Head, head_digest: str) -> Counting:
        """Raises BusUnavailable, KubeUnavailable, KubeConflict; then nothing has changed."""
        accepted = self.protection.set
        if not self.protection.asks or head.set == accepted:
            return Counting(await self.protection.admit(head, head_digest), {})
        less = await self._taken_away(accepted, head.set)
        counts = await self.protection.admit(head, head_digest, only_less=less.is_all)
        return Counting(counts, less.left if counts == accepted else {})

    async def _taken_away(self, accepted: str, told: str) -> _Less:
        """What the told set takes away from the accepted one, as far as both can be read."""
        if not accepted:
            return _Less()
        try:
            before = DesiredSet.from_bytes(await self.artifacts.fetch(accepted))
            after = DesiredSet.from_bytes(await self.artifacts.fetch(told))
            left = {
                name: content
                for name in self.withdraws
                if (content := await self._left(name, before, after)) is not None
            }
        except (Terminal, Refused) as error:
            log.warning("what a set takes away cannot be read", set=told[:12], reason=error.reason)
            return _Less()
        sections = dict(before.sections)
        for name, content in left.items():
            sections[name] = sections[name].model_copy(update={"digest": digest(canonical(content))})
        is_all = sections == after.sections and set(after.retired) <= set(before.retired)
        return _Less(left, is_all)

    async def _left(self, name: str, before: DesiredSet, after: DesiredSet) -> Any | None:
        """What is left of a section; None for all of it."""
        one, other = before.sections.get(name), after.sections.get(name)
        if one is None or other is None or one == other or one.version != other.version:
            return None
        accepted, told = await asyncio.gather(*map(self._content, (one, other)))
        left = self.withdraws[name](accepted, told)
        return left if left != accepted else None

    async def _content(self, ref: SectionRef) -> Any:
        return parse_json(await self.artifacts.fetch(ref.digest))
