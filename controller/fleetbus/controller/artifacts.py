"""Artifacts in their stream: put when absent or old, fetched by digest, swept when nothing names them any more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import structlog

from fleetbus.controller.server_time import ServerTime
from fleetbus.runtime.failures import first_leaf
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import artifacts as form
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import Artifact
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.errors import MessageMalformed, NotFound
from fleetbus.schemas.streams import ARTIFACTS

PUT_AGAIN_AFTER = timedelta(hours=12)
SWEPT_AFTER = timedelta(days=1)
AT_ONCE = 16
_PAGE = 50

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_log = structlog.get_logger("controller")


class Artifacts:
    """What is stored, by digest, and since when as far as this controller knows."""

    def __init__(self, bus: Bus, time: ServerTime) -> None:
        self._bus = bus
        self._time = time
        self._stored_at: dict[str, datetime] = {}

    async def store(self, artifacts: Iterable[Artifact]) -> None:
        """Store those that are absent, and again those that the sweep could be about to take.

        Raises BusUnavailable; then some may be stored.
        """
        left = list(artifacts)
        if len(left) < 2:
            await self._store(iter(left))
            return
        one_by_one = iter(left)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(AT_ONCE, len(left))):
                    tasks.create_task(self._store(one_by_one))
        except BaseExceptionGroup as raised:
            raise first_leaf(raised) from raised

    async def _store(self, artifacts: Iterator[Artifact]) -> None:
        for artifact in artifacts:
            if not await self._stands(artifact.name):
                # The parts come before what names them.
                for name, value in form.pack(artifact).items():
                    await self._put(name, value)

    async def fetch(self, digest: str) -> bytes:
        """The content, checked against its digest. Raises NotFound, MessageMalformed, BusUnavailable."""
        stored = await self._value(digest)
        parts = {name: await self._value(name) for name in form.parts_of(stored) or ()}
        return form.unpack(digest, stored, parts)

    async def sweep(self, roots: Iterable[str], may: Callable[[], bool]) -> int:
        """Purge what is older than a day and not reachable from `roots`; how many. Stops once `may()` is false."""
        wanted = await self._reachable(roots)
        swept, after = 0, 0
        while messages := await self._bus.get_many(
            ARTIFACTS.name, subjects.ALL_ARTIFACTS, after=after, limit=_PAGE
        ):
            after = messages[-1].sequence
            for message in messages:
                digest = subjects.parse_artifact(message.subject)
                old = message.stored_at and message.stored_at + SWEPT_AFTER < self._time.now()
                if digest is None or digest in wanted or not old:
                    continue
                if not may():
                    return swept
                await self._purge(digest, message.sequence)
                swept += 1
        return swept

    async def _stands(self, digest: str) -> bool:
        known = self._stored_at.get(digest)
        if known is None:
            last = await self._bus.get_last(ARTIFACTS.name, subjects.artifact(digest))
            if last is None or last.stored_at is None:
                return False
            known = self._stored_at[digest] = last.stored_at
        return self._time.now() - known < PUT_AGAIN_AFTER

    async def _put(self, digest: str, value: bytes) -> None:
        await self._bus.put(Put(subjects.artifact(digest), value))
        self._stored_at[digest] = self._time.now()

    async def _value(self, digest: str) -> bytes:
        last = await self._bus.get_last(ARTIFACTS.name, subjects.artifact(digest))
        if last is None:
            raise NotFound(f"artifact {digest[:12]} is not stored")
        return last.data

    async def _purge(self, digest: str, sequence: int) -> None:
        self._stored_at.pop(digest, None)
        last = await self._bus.get_last(ARTIFACTS.name, subjects.artifact(digest))
        if last is not None and last.sequence == sequence:
            await self._bus.purge(ARTIFACTS.name, subjects.artifact(digest))

    async def _reachable(self, roots: Iterable[str]) -> set[str]:
        """Sets, the contents that they name, and what those name: whatever looks like a digest counts."""
        seen: set[str] = set()
        level = set(roots)
        for _ in range(3):
            found: set[str] = set()
            for digest in sorted(level - seen):
                seen.add(digest)
                found |= await self._named_by(digest)
            level = found
        return seen | level

    async def _named_by(self, digest: str) -> set[str]:
        try:
            stored = await self._value(digest)
            parts = form.parts_of(stored)
            if parts is not None:
                return set(parts)
            return digests_in(parse_json(form.unpack(digest, stored)))
        except (NotFound, MessageMalformed) as error:
            _log.warning(
                "an artifact that is still named cannot be read", digest=digest[:12], reason=str(error)
            )
            return set()


def digests_in(value: Any) -> set[str]:
    """Every string in a JSON value that looks like a digest."""
    found: set[str] = set()
    open_ = [value]
    while open_:
        one = open_.pop()
        if isinstance(one, str):
            if _DIGEST.fullmatch(one):
                found.add(one)
        elif isinstance(one, dict):
            open_.extend(one.values())
        elif isinstance(one, list):
            open_.extend(one)
    return found
