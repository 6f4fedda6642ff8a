"""Watches on just the kinds that are in apply sets: what is live, and whose it is when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from fleetbus.agent.capabilities.bundles.health import is_watched_whole
from fleetbus.agent.capabilities.bundles.live import Live, live_of, version_of
from fleetbus.agent.capabilities.bundles.objects import PART_OF, GroupKind, ObjectKey
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Kube, KubeEvent, Resource
from fleetbus.schemas.errors import FleetbusError, KubeUnavailable, NotFound

_SHOWN_WITHIN_S = 5.0


@dataclass(slots=True)
class _Watched:
    """One kind under watch."""

    resource: Resource
    task: asyncio.Task[None]
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    synced_at_s: float = 0.0


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
        self._unshown: dict[ObjectKey, float] = {}
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
                self._unshown.pop(key, None)
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
            if known is None or known.uid != live.uid or known.version < live.version:
                self._unshown[key] = self._clock.monotonic_s()
            if live.health is None and known is not None and known.uid == live.uid:
                live = live.with_health(known.health)
            self._live[key] = live

    def mark_going(self, key: ObjectKey) -> None:
        """Its deletion was accepted: it is not asked for again while the watch has not shown it yet."""
        if (known := self._live.get(key)) is not None:
            self._live[key] = replace(known, deleting=True)

    async def sweep(self) -> None:
        """Look for what was applied and then never shown by a watch.

        It may have gone before the watch began to look, and then no event tells of it.
        """
        for key in self._overdue():
            try:
                found = await self._kube.get(
                    self._watched[key.group_kind].resource, key.namespace, key.name, metadata_only=True
                )
            except NotFound:
                self._unshown.pop(key, None)
                if (known := self._live.pop(key, None)) is not None:
                    self._touched({known.part_of})
            except FleetbusError:
                self._unshown[key] = self._clock.monotonic_s()
            else:
                self._unshown.pop(key, None)
                kind = {"apiVersion": found.get("apiVersion"), "kind": key.kind}
                self._see(key.group_kind, KubeEvent("MODIFIED", {**found, **kind}), False)

    def _overdue(self) -> list[ObjectKey]:
        now_s = self._clock.monotonic_s()
        return [
            key
            for key, put_at_s in self._unshown.items()
            if (watched := self._watched.get(key.group_kind)) is not None
            and watched.synced.is_set()
            and now_s - max(put_at_s, watched.synced_at_s) >= _SHOWN_WITHIN_S
        ]

    @property
    def sweep_in_s(self) -> float | None:
        """When to sweep again at the latest; None when everything has been shown."""
        return _SHOWN_WITHIN_S if self._unshown else None

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
            watched.synced_at_s = self._clock.monotonic_s()
            watched.synced.set()
            self._touched(None)

    def _see(self, kind: GroupKind, event: KubeEvent, whole: bool) -> None:
        metadata = event.object.get("metadata") or {}
        key = ObjectKey(*kind, str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
        known = self._live.get(key)
        self._unshown.pop(key, None)
        if (
            event.type != "DELETED"
            and known is not None
            and known.uid == metadata.get("uid")
            and 0 < version_of(metadata) <= known.version
        ):
            # Our own applies come back this way: nothing of them is hashed twice.
            return
        seen = live_of(event.object, whole)
        if event.type == "DELETED":
            if known is not None and known.uid == seen.uid:
                del self._live[key]
                self._touched({known.part_of})
            return
        if not self._ours(seen.part_of):
            if known is not None:
                del self._live[key]
                self._touched({known.part_of})
            return
        self._live[key] = seen
        if not seen.same(known):
            self._touched({seen.part_of} | ({known.part_of} if known else set()))
