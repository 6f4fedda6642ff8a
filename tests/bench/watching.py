"""What the bench itself sees, with the moment: a watch at an apiserver, and what a cluster reports on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Bus, CaughtUp, Kube, KubeEvent, Resource
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import TimeoutExpired
from fleetbus.schemas.signing import verify
from fleetbus.schemas.states import State
from fleetbus.schemas.streams import STATE
from fleetbus.schemas.subjects import ClusterId

T = TypeVar("T")

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
SECRET = Resource("", "v1", "secrets", "Secret", True)

_START_TIMEOUT_S = 30.0


class Sight(Generic[T]):
    """Something that happens one after the other, and who waits for one of it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.count = 0
        self._awaited: list[tuple[Callable[[T], bool], asyncio.Future[datetime]]] = []

    def expect(self, matches: Callable[[T], bool]) -> asyncio.Future[datetime]:
        """The moment of the next one that matches; ask before what causes it."""
        future: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
        self._awaited.append((matches, future))
        return future

    def fail(self, error: BaseException) -> None:
        """Nothing will be seen any more."""
        for _, future in self._awaited:
            if not future.done():
                future.set_exception(error)
        self._awaited = []

    def see(self, one: T, at: datetime) -> None:
        self.count += 1
        left = []
        for matches, future in self._awaited:
            if future.done():
                continue
            if matches(one):
                future.set_result(at)
            else:
                left.append((matches, future))
        self._awaited = left


async def within(future: asyncio.Future[T], timeout_s: float, what: str) -> T:
    """Raises TimeoutExpired that says what was waited for."""
    try:
        async with asyncio.timeout(timeout_s):
            return await future
    except TimeoutError as cause:
        raise TimeoutExpired(f"not seen within {timeout_s:g} s: {what}") from cause


@asynccontextmanager
async def watching(
    kube: Kube, resource: Resource, namespace: str, *, metadata_only: bool = False
) -> AsyncIterator[Sight[KubeEvent]]:
    """A watch of one namespace; entered, everything that is there has been seen."""
    sight: Sight[KubeEvent] = Sight()

    async def follow() -> None:
        clock = SystemClock()
        async with aclosing(kube.watch(resource, namespace=namespace, metadata_only=metadata_only)) as events:
            async for event in events:
                if event.type == "SYNCED":
                    sight.started.set()
                else:
                    sight.see(event, clock.now())

    async with _following(sight, follow(), f"a watch of {resource.plural} in {namespace}"):
        yield sight


@asynccontextmanager
async def reports(bus: Bus, cluster: ClusterId, key: str) -> AsyncIterator[Sight[State]]:
    """Every state that a cluster reports, with the moment at which the bus stored it; the signature is checked."""
    sight: Sight[State] = Sight()

    async def follow() -> None:
        async with aclosing(bus.follow(STATE.name, subjects.states_of(cluster))) as items:
            async for item in items:
                if isinstance(item, CaughtUp):
                    sight.started.set()
                elif item.stored_at is not None:
                    sight.see(State.from_bytes(verify(item.subject, item.data, {key})), item.stored_at)

    async with _following(sight, follow(), f"the states of {cluster}"):
        yield sight


@asynccontextmanager
async def _following(sight: Sight[T], follow: Coroutine[Any, Any, None], what: str) -> AsyncIterator[None]:
    task = asyncio.create_task(follow, name=what)
    task.add_done_callback(lambda ended: sight.fail(_why(ended, what)))
    started = asyncio.create_task(sight.started.wait())
    try:
        await asyncio.wait({task, started}, timeout=_START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        if not sight.started.is_set():
            raise TimeoutExpired(f"not started within {_START_TIMEOUT_S:g} s: {what}")
        yield
        if task.done():
            task.result()
    finally:
        started.cancel()
        task.cancel()
        await asyncio.wait({task})


def _why(ended: asyncio.Task[None], what: str) -> BaseException:
    error = None if ended.cancelled() else ended.exception()
    return error or TimeoutExpired(f"it ended before all was seen: {what}")
