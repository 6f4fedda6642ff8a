"""Watches on just the kinds that are in apply sets: what is live, and whose it is when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from fleetbus.agent.capabilities.bundles.health import is_watched_whole
from fleetbus.agent.capabilities.bundles.live import Live, live_of
from fleetbus.agent.capabilities.bundles.objects import PART_OF, GroupKind, ObjectKey
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Kube, KubeEvent, Resource
from fleetbus.schemas.errors import KubeUnavailable


@dataclass(slots=True)
class _Watched:
    """One kind under watch."""

    resource: Resource
    task: asyncio.Task[None]
    synced: asyncio.Event = field(default_factory=asyncio.Event)


class Watches:
    """Members of our apply sets as the apiserver shows them, a few words each.

    `ours` says whether an apply set is one of ours; `touched` is told the apply sets of what changed, None
    when it may be any.
    """

    def __init__(
        self,
        kube: Kube,
        clock: Clock,
        ours: Callable[[str], bool],
        touched: Callable[[Collection[str] | None], None],
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._ours = ours
        self._touched = touched
        self._live: dict[ObjectKey, Live] = {}
        self._watched: dict[GroupKind, _Watched] = {}

    def live(self, key: ObjectKey) -> Live | None:
        return self._live.get(key)

    @property
    def synced(self) -> frozenset[GroupKind]:
        """Kinds of which everything that is there has been seen."""
        return frozenset(kind for kind, one in self._watched.items() if one.synced.is_set())

    def want(self, resources: Mapping[GroupKind, Resource]) -> None:
        """Watch these kinds from now on, and no others."""
        for kind in self._watched.keys() - resources.keys():
            self._watched.pop(kind).task.cancel()
            for key in [key for key in self._live if key.group_kind == kind]:
                del self._live[key]
        for kind, resource in resources.items():
            if kind not in self._watched:
                step = partial(self._follow, kind, resource)
                name = f"watch of {resource.kind}"
                task = asyncio.create_task(repeat(name, step, self._clock), name=name)
                self._watched[kind] = _Watched(resource, task)

    async def wait_synced(self, timeout_s: float) -> None:
        """Until every kind that is watched has been seen whole, or the time is over: then go on with less."""
        try:
            async with asyncio.timeout(timeout_s):
                for one in list(self._watched.values()):
                    await one.synced.wait()
        except TimeoutError:
            return

    def put(self, key: ObjectKey, live: Live) -> None:
        """What an apply answered: newer than anything that the watch has shown."""
        known = self._live.get(key)
        if known is None or known.uid != live.uid or known.version <= live.version:
            if live.health is None and known is not None and known.uid == live.uid:
                live = live.with_health(known.health)
            self._live[key] = live

    async def close(self) -> None:
        tasks = [one.task for one in self._watched.values()]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, kind: GroupKind, resource: Resource) -> None:
        whole = is_watched_whole(kind)
        watch = self._kube.watch(resource, label_selector=PART_OF, metadata_only=not whole)
        async with aclosing(watch) as events:
            async for event in events:
                if event.type == "SYNCED":
                    self._sync(kind)
                else:
                    self._see(kind, event, whole)
        raise KubeUnavailable("a watch ended", where=resource.kind)

    def _sync(self, kind: GroupKind) -> None:
        watched = self._watched.get(kind)
        if watched is not None and not watched.synced.is_set():
            watched.synced.set()
            self._touched(None)

    def _see(self, kind: GroupKind, event: KubeEvent, whole: bool) -> None:
        metadata = event.object.get("metadata") or {}
        key = ObjectKey(*kind, str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
        seen, known = live_of(event.object, whole), self._live.get(key)
        if event.type == "DELETED":
            if known is not None and known.uid == seen.uid:
                del self._live[key]
                self._touched({known.part_of})
            return
        if known is not None and known.uid == seen.uid and 0 < seen.version <= known.version:
            return
        if not self._ours(seen.part_of):
            if known is not None:
                del self._live[key]
                self._touched({known.part_of})
            return
        self._live[key] = seen
        if not seen.same(known):
            self._touched({seen.part_of} | ({known.part_of} if known else set()))
