"""What an agent's capability is started with in tests: ports on any cluster and Vault, and a Keep in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self

import orjson

from fleetbus.agent.ports import Capability, Identity, Ports, Told, Worker
from fleetbus.runtime.clock import Clock, SystemClock
from fleetbus.runtime.loop import first, repeat
from fleetbus.runtime.ports import Kube, Vault
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.errors import FleetbusError, NotFound
from fleetbus.schemas.events import Happened
from fleetbus.schemas.subjects import ClusterId
from tests.waiting import wait_until


class MemoryKeep:
    """A Keep that outlives workers, as the real one outlives agents. `failing` is raised by the next write."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.writes = 0
        self.failing: FleetbusError | None = None

    def kept(self, key: str) -> Mapping[str, Any] | None:
        return orjson.loads(self.values[key]) if key in self.values else None

    async def keep(self, values: Mapping[str, Mapping[str, Any] | None]) -> None:
        if self.failing is not None:
            failing, self.failing = self.failing, None
            raise failing
        self.writes += 1
        for key, value in values.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = orjson.dumps(value)


class NoArtifacts:
    async def fetch(self, digest: str) -> bytes:
        raise NotFound("there is no artifact", where=digest)


def ports(
    kube: Kube,
    *,
    vault: Vault | None = None,
    keep: MemoryKeep | None = None,
    cluster: str = "c1",
    clock: Clock | None = None,
) -> Ports:
    identity = Identity("test", ClusterId("main", cluster), "uid-of-kube-system")
    return Ports(identity, kube, vault, clock or SystemClock(), keep or MemoryKeep(), NoArtifacts())


class Side:
    """The agent's side around one worker, in short: the real loop, and what it would publish."""

    def __init__(self, capability: Capability, given: Ports, worker: Worker | None = None) -> None:
        self.capability = capability
        self.told = Told(None)
        self.worker = worker or capability.start(given)
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.happened: list[Happened] = []
        self._clock = given.clock
        self._tell = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            if not self._loop.cancelled():
                self._loop.result()
        await self.worker.close()

    @property
    def dead(self) -> bool:
        """Whether the loop has ended by itself, as when a rehearsal has died."""
        return self._loop is not None and self._loop.done()

    async def live(self, for_s: float) -> None:
        """Until the time is over or the loop is dead."""
        assert self._loop is not None
        await asyncio.wait([self._loop], timeout=for_s)

    def tell(self, content: Any, *retired: Retired, halts: tuple[str, ...] = ()) -> None:
        self.told = Told(content, retired, halts=lambda: halts)
        self._tell.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        async def holds() -> bool:
            return condition()

        assert await wait_until(holds, self._clock, timeout_s, 0.01), self.bodies

    def types(self) -> list[str]:
        return [one.type for one in self.happened]

    async def _run(self) -> None:
        await repeat(self.capability.name, self._step, self._clock, wake=self._woken)

    async def _step(self) -> float | None:
        self._tell.clear()
        outcome = await self.worker.reconcile(self.told)
        for aspect, body in outcome.aspects.items():
            assert aspect in self.capability.aspects
            self.happened += self.capability.transitions(aspect, self.bodies.get(aspect, {}), body)
            self.bodies[aspect] = body
        for happened in outcome.happened.values():
            self.happened += happened
        return outcome.again_in_s

    async def _woken(self) -> None:
        async def told() -> None:
            await self._tell.wait()

        await first(told(), self.worker.changed())
