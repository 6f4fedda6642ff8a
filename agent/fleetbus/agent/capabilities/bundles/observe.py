"""World → values: the records that stand, the kinds that are served, and what exists under a name."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import structlog

from fleetbus.agent.capabilities.bundles.objects import ObjectKey
from fleetbus.agent.capabilities.bundles.ownership import BUNDLE_ID_LABEL, HOME, Membership, parse_parent
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.errors import FleetbusError, NotFound, ObjectInvalid

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
# From so many on, one list of a namespace's metadata is cheaper than asking for each object.
_LIST_FROM = 6
_KIND_ANSWER_S = 0.25

ApiKind = tuple[str, str]
"""apiVersion and kind."""

log = structlog.get_logger("bundles")


async def read_memberships(kube: Kube) -> dict[str, Membership]:
    """All records of apply sets in this cluster, by bundle id. One that cannot be read is logged and left."""
    found: dict[str, Membership] = {}
    for parent in await kube.list(CONFIG_MAP, namespace=HOME, label_selector=BUNDLE_ID_LABEL):
        try:
            membership = parse_parent(parent)
        except ObjectInvalid as error:
            log.error("record unreadable, its objects are left alone", message=error)
            continue
        found[membership.id] = membership
    return found


async def read_membership(kube: Kube, id_: str, name: str) -> Membership:
    """One record as it stands now; an empty one where there is none."""
    empty = Membership(id_, name)
    try:
        return parse_parent(await kube.get(CONFIG_MAP, HOME, empty.parent))
    except NotFound:
        return empty


class Kinds:
    """Which kinds the cluster serves. A question whose answer takes long goes on; its answer comes later."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[ApiKind, Resource] = {}
        self._asking: dict[ApiKind, asyncio.Task[Resource]] = {}

    async def resolve(self, wanted: Collection[ApiKind]) -> dict[ApiKind, Resource | None]:
        """Those that are known by now; None for a kind that is not served. What is missing is being asked.

        Raises KubeUnavailable.
        """
        unknown = [kind for kind in sorted(wanted) if kind not in self._known]
        for kind in unknown:
            if kind not in self._asking:
                self._asking[kind] = asyncio.create_task(self._kube.resource(*kind), name=f"kind {kind[1]}")
        if unknown:
            await asyncio.wait([self._asking[kind] for kind in unknown], timeout=_KIND_ANSWER_S)
        found: dict[ApiKind, Resource | None] = {}
        for kind in wanted:
            if kind in self._known:
                found[kind] = self._known[kind]
            elif self._asking[kind].done():
                found[kind] = self._answer(kind, self._asking.pop(kind))
        return found

    def _answer(self, kind: ApiKind, task: asyncio.Task[Resource]) -> Resource | None:
        try:
            self._known[kind] = task.result()
        except NotFound:
            return None
        return self._known[kind]

    async def prime(self) -> None:
        """Have the usual kinds at hand, so that one that is unknown later holds none of them up."""
        self._known[("v1", "ConfigMap")] = await self._kube.resource("v1", "ConfigMap")

    def knows(self, kind: ApiKind) -> bool:
        return kind in self._known

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        self._asking.clear()


async def read_existing(
    kube: Kube, wanted: Mapping[ObjectKey, Resource]
) -> dict[ObjectKey, Mapping[str, Any] | FleetbusError]:
    """The metadata of those that exist; an error for those that could not be looked at."""
    by_place: defaultdict[tuple[Resource, str], list[ObjectKey]] = defaultdict(list)
    for key, resource in wanted.items():
        if resource.namespaced and not key.namespace:
            continue
        by_place[(resource, key.namespace)].append(key)
    found: dict[ObjectKey, Mapping[str, Any] | FleetbusError] = {}

    async def look(resource: Resource, namespace: str, keys: list[ObjectKey]) -> None:
        try:
            listed = await kube.list(resource, namespace=namespace, metadata_only=True)
        except FleetbusError as error:
            found.update(dict.fromkeys(keys, error))
            return
        by_name = {str(one["metadata"].get("name")): one["metadata"] for one in listed}
        found.update({key: by_name[key.name] for key in keys if key.name in by_name})

    async def look_at(resource: Resource, key: ObjectKey) -> None:
        try:
            one = await kube.get(resource, key.namespace, key.name, metadata_only=True)
        except NotFound:
            return
        except FleetbusError as error:
            found[key] = error
            return
        found[key] = one["metadata"]

    async with asyncio.TaskGroup() as group:
        for (resource, namespace), keys in by_place.items():
            if len(keys) >= _LIST_FROM:
                group.create_task(look(resource, namespace, keys))
            else:
                for key in keys:
                    group.create_task(look_at(resource, key))
    return found
