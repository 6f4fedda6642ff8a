"""The port `Artifacts` on the bus, with the last ones kept in memory up to a bound."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import parts_of, unpack
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.streams import ARTIFACTS

MAX_KEPT_BYTES = 16 * 1024 * 1024
_PARTS_AT_ONCE = 4


class BusArtifacts:
    """Fetches by digest; what it gives has been checked against it."""

    def __init__(self, bus: Bus, *, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._bus = bus
        self._max_kept_bytes = max_kept_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def fetch(self, digest: str) -> bytes:
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return self._kept[digest]
        stored = await self._stored(digest)
        names = parts_of(stored)
        content = unpack(digest, stored, await self._parts(names) if names else None)
        self._remember(digest, content)
        return content

    async def _stored(self, digest: str) -> bytes:
        message = await self._bus.get_last(ARTIFACTS.name, subjects.artifact(digest))
        if message is None:
            raise NotFound(f"artifact {digest[:12]} is not on the bus")
        return message.data

    async def _parts(self, names: list[str]) -> dict[str, bytes]:
        slots = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(name: str) -> tuple[str, bytes]:
            async with slots:
                return name, await self._stored(name)

        return dict(await asyncio.gather(*(part(name) for name in dict.fromkeys(names))))

    def _remember(self, digest: str, content: bytes) -> None:
        if len(content) > self._max_kept_bytes // 2:
            return
        if digest not in self._kept:
            self._kept[digest] = content
            self._kept_bytes += len(content)
        while self._kept_bytes > self._max_kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)
