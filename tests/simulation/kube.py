"""The port `Kube` on a simulated cluster, on whatever clock it is given, with faults by a seeded plan."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import KubeEvent, Resource
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeConflict, KubeUnavailable, NotFound
from tests.simulation.kube_cluster import Change, Key, Object, SimulatedCluster, Stored, selector
from tests.simulation.kube_fields import applied, copied, merged, updated

_Objects = list[dict[str, Any]]
_Resources = list[Resource]
_Events = list[KubeEvent]


@dataclass(frozen=True, slots=True)
class KubeFaults:
    """How often what goes wrong, as shares of calls or of watch events; times in seconds.

    `refused`: 429 or 500 before any effect. `lost`: the effect happened and the answer is a 500.
    `conflicts`: 409 on a replace or patch. `cuts`: a watch ends; `expired` of these cannot resume (410).
    """

    refused: float = 0.0
    lost: float = 0.0
    conflicts: float = 0.0
    cuts: float = 0.0
    expired: float = 0.5
    latency_s: float = 0.002
    late_s: float = 0.0


class SimulatedKube:
    """A client of a simulated cluster. Every call yields to the loop before and after its effect."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        *,
        faults: KubeFaults | None = None,
        seed: int = 0,
        manager: str = "fleetbus",
    ) -> None:
        self.cluster = cluster
        self.faults = faults or KubeFaults()
        self._chance = Random(seed)
        self._clock: Clock = cluster.clock
        self._manager = manager

    async def resource(self, api_version: str, kind: str) -> Resource:
        await self._call()
        return self.cluster.kind(api_version, kind)

    async def resources(self) -> _Resources:
        await self._call()
        return list(self.cluster.kinds)

    async def version(self) -> str:
        return str((await self.read_path("/version"))["gitVersion"])

    async def read_path(self, path: str) -> Object:
        await self._call()
        if path not in self.cluster.documents:
            raise NotFound("the server could not find the requested resource", where=path)
        return copied(self.cluster.documents[path])

    async def get(
        self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False
    ) -> Object:
        await self._call()
        found = self.cluster.find(resource, _key(resource, namespace, name)).object
        return _shown(found, metadata_only)

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> _Objects:
        await self._call()
        matches = selector(label_selector)
        return [
            _shown(stored.object, metadata_only)
            for key, stored in sorted(self.cluster.objects(resource).items())
            if namespace in ("", key[0]) and matches(stored.object)
        ]

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        await self._call()
        if resource.kind == "SelfSubjectAccessReview":
            return {**copied(body), "status": {"allowed": True}}
        key = _key(resource, namespace, str((body.get("metadata") or {}).get("name") or ""))
        self.cluster.refuse_existing(resource, key)
        owners = updated({}, body, {}, self._manager)
        return await self._answer(self.cluster.put(resource, key, body, owners))

    async def replace(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        await self._call(updating=True)
        return await self._update(resource, _key(resource, namespace, name), body)

    async def merge_patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        await self._call(updating=True)
        key = _key(resource, namespace, name)
        live = copied(self.cluster.find(resource, key).object)
        live["metadata"].pop("resourceVersion")
        return await self._update(resource, key, merged(live, body))

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object | bytes,
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
        metadata_only: bool = False,
    ) -> Object:
        await self._call(updating=True)
        wanted: Object = orjson.loads(body) if isinstance(body, bytes) else body
        if wanted.get("kind") != resource.kind or wanted.get("apiVersion") != resource.api_version:
            raise ApplyRefused(
                "the object's kind is not that of the request", where=resource.kind, status=400
            )
        key = _key(resource, namespace, name)
        stored = self.cluster.objects(resource).get(key) or Stored({})
        live = copied(stored.object)
        version = (wanted.get("metadata") or {}).get("resourceVersion")
        if live:
            live["metadata"].pop("resourceVersion")
        result, owners = applied(live, stored.owners, wanted, field_manager, force=force)
        if version:
            result["metadata"]["resourceVersion"] = version
        if dry_run:
            return _shown(result, metadata_only)
        return await self._answer(_shown(self.cluster.put(resource, key, result, owners), metadata_only))

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        await self._call()
        key = _key(resource, namespace, name)
        stored = self.cluster.objects(resource).get(key)
        if stored is None:
            return
        metadata = stored.object["metadata"]
        if uid not in ("", metadata["uid"]) or resource_version not in ("", metadata["resourceVersion"]):
            raise KubeConflict("a precondition of the deletion fails", where=f"{resource.kind} {name}")
        self.cluster.remove(resource, key, orphan=propagation == "Orphan")
        await self._answer({})

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = True,
    ) -> AsyncGenerator[KubeEvent, None]:
        watch = _Watch(self.cluster, resource, namespace, label_selector, metadata_only)
        position: int | None = None
        not_served = 0
        while True:
            events: _Events = []
            try:
                await self._call()
                if position is None:
                    position, events = watch.listed()
                    not_served = 0
            except NotFound:
                not_served += 1
                events = watch.emptied() if not_served == 2 else []
            except FleetbusError:
                pass
            for event in events:
                yield event
            if position is None or self.cluster.away:
                await self._clock.sleep(self._clock.jitter(0.2))
                continue
            await self.cluster.wait_beyond(position)
            if self.faults.late_s:
                await self._clock.sleep(self._chance.random() * self.faults.late_s)
            for change in self.cluster.history[position:]:
                if self._happens(self.faults.cuts) or self.cluster.away:
                    if self._happens(self.faults.expired):
                        position = None
                    break
                position = change.revision
                for event in watch.seen(change):
                    yield event

    async def _update(self, resource: Resource, key: Key, body: Object) -> Object:
        stored = self.cluster.find(resource, key)
        owners = updated(stored.object, body, stored.owners, self._manager)
        return await self._answer(self.cluster.put(resource, key, body, owners))

    async def _call(self, *, updating: bool = False) -> None:
        await self._clock.sleep(self._clock.jitter(self.faults.latency_s))
        if self.cluster.away:
            raise KubeUnavailable("the API server cannot be reached")
        if self._happens(self.faults.refused):
            raise KubeUnavailable(self._chance.choice(["TooManyRequests (429)", "InternalError (500)"]))
        if updating and self._happens(self.faults.conflicts):
            raise KubeConflict("the object has been modified")

    async def _answer(self, found: Object) -> Object:
        await self._clock.sleep(self._clock.jitter(self.faults.latency_s))
        if self._happens(self.faults.lost):
            raise KubeUnavailable("the API server did not answer in time")
        return found

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share


class _Watch:
    """What one watch has shown: keys and UIDs, as the real one remembers them."""

    def __init__(
        self, cluster: SimulatedCluster, resource: Resource, namespace: str, labels: str, metadata_only: bool
    ) -> None:
        self._cluster = cluster
        self._resource = resource
        self._namespace = namespace
        self._matches = selector(labels)
        self._metadata_only = metadata_only
        self._uids: dict[Key, str] = {}

    def listed(self) -> tuple[int, _Events]:
        """Revision and events of a list: ADDED, DELETED for what vanished, SYNCED."""
        found = {
            key: stored.object
            for key, stored in sorted(self._cluster.objects(self._resource).items())
            if self._namespace in ("", key[0]) and self._matches(stored.object)
        }
        events: _Events = []
        for key, shown in found.items():
            uid = shown["metadata"]["uid"]
            if self._uids.get(key, uid) != uid:
                events.append(self._vanished(key))
            self._uids[key] = uid
            events.append(KubeEvent("ADDED", _shown(shown, self._metadata_only)))
        return self._cluster.revision, events + self._gone(found.keys())

    def emptied(self) -> _Events:
        """The kind is served no more: nothing of it is left."""
        return self._gone(())

    def seen(self, change: Change) -> _Events:
        """What a change means to this watch; leaving the selector is a DELETED, entering it an ADDED."""
        kind, key = (self._resource.group, self._resource.plural), change.key
        if change.kind != kind or self._namespace not in ("", key[0]):
            return []
        known = key in self._uids
        if change.type == "DELETED" or not self._matches(change.object):
            self._uids.pop(key, None)
            return [KubeEvent("DELETED", _shown(change.object, self._metadata_only))] if known else []
        self._uids[key] = change.object["metadata"]["uid"]
        return [KubeEvent("MODIFIED" if known else "ADDED", _shown(change.object, self._metadata_only))]

    def _gone(self, left: Iterable[Key]) -> _Events:
        gone = sorted(self._uids.keys() - set(left))
        events = [self._vanished(key) for key in gone]
        for key in gone:
            del self._uids[key]
        return [*events, KubeEvent("SYNCED", {})]

    def _vanished(self, key: Key) -> KubeEvent:
        metadata = {"name": key[1], "uid": self._uids[key]} | ({"namespace": key[0]} if key[0] else {})
        kind = {"apiVersion": self._resource.api_version, "kind": self._resource.kind}
        return KubeEvent("DELETED", {**kind, "metadata": metadata})


def _key(resource: Resource, namespace: str, name: str) -> Key:
    if resource.namespaced and not namespace:
        raise ApplyRefused(f"a {resource.kind} needs a namespace", where=resource.kind, status=400)
    if not name or name in (".", "..") or "/" in name:
        raise ApplyRefused("not a name", where=resource.kind, status=400)
    return (namespace if resource.namespaced else "", name)


def _shown(found: Object, metadata_only: bool) -> Object:
    names = ("apiVersion", "kind", "metadata") if metadata_only else tuple(found)
    return copied({name: found[name] for name in names if name in found})
