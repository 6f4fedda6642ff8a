"""The state of one simulated cluster: objects, revisions and the history that watches read. No I/O."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import AlreadyExists, ApplyRefused, KubeConflict, NotFound
from tests.simulation.kube_fields import Owners, copied, managed_fields

Object = dict[str, Any]
Key = tuple[str, str]
Kind = tuple[str, str]
"""Group and plural."""

_NAMESPACED = """v1 configmaps ConfigMap|v1 secrets Secret|v1 serviceaccounts ServiceAccount|v1 pods Pod
v1 services Service|apps/v1 deployments Deployment|apps/v1 statefulsets StatefulSet
apps/v1 daemonsets DaemonSet|batch/v1 jobs Job|coordination.k8s.io/v1 leases Lease
rbac.authorization.k8s.io/v1 roles Role|rbac.authorization.k8s.io/v1 rolebindings RoleBinding"""
_CLUSTER_WIDE = """v1 namespaces Namespace|v1 nodes Node|rbac.authorization.k8s.io/v1 clusterroles ClusterRole
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition"""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?")
_CRD = "CustomResourceDefinition"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of history; `object` as it was after the change, or before it was removed."""

    revision: int
    type: str
    kind: Kind
    key: Key
    object: Object


@dataclass(slots=True)
class Stored:
    object: Object
    owners: Owners = field(default_factory=dict)


class SimulatedCluster:
    """An API server's store. Namespaces `default` and `kube-system` exist; a CRD that is put is served at once.

    `away` makes every client's call fail and every watch break. `documents` are what `read_path` gives.
    """

    def __init__(self, clock: Clock, *, seed: int = 0, version: str = "v1.36.3") -> None:
        self.clock = clock
        self.away = False
        self.revision = 0
        self.history: list[Change] = []
        self.kinds: list[Resource] = [*_resources(_NAMESPACED, True), *_resources(_CLUSTER_WIDE, False)]
        self.documents: dict[str, Object] = {"/version": {"gitVersion": version}}
        self._objects: dict[Kind, dict[Key, Stored]] = {}
        self._chance = Random(seed)
        self._changed = asyncio.Event()
        for name in ("default", "kube-system"):
            self.put(self.kind("v1", "Namespace"), ("", name), {"metadata": {"name": name}}, {})

    def kind(self, api_version: str, kind: str) -> Resource:
        for resource in self.kinds:
            if (resource.api_version, resource.kind) == (api_version, kind):
                return resource
        raise NotFound(f"the cluster has no kind {kind} in {api_version}", where=kind)

    def objects(self, resource: Resource) -> dict[Key, Stored]:
        if resource not in self.kinds:
            raise NotFound("the server could not find the requested resource", where=resource.kind)
        return self._objects.setdefault((resource.group, resource.plural), {})

    def find(self, resource: Resource, key: Key) -> Stored:
        found = self.objects(resource).get(key)
        if found is None:
            raise NotFound(f'{resource.plural} "{key[1]}" not found', where=resource.kind)
        return found

    def put(self, resource: Resource, key: Key, body: Object, owners: Owners) -> Object:
        """Create or change an object as the server would; a change that changes nothing has no revision."""
        before = self.objects(resource).get(key)
        self._refuse(resource, key, body, creating=before is None)
        found = copied(body)
        metadata = found.setdefault("metadata", {})
        found |= {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata |= {"name": key[1]} | ({"namespace": key[0]} if resource.namespaced else {})
        live = before.object if before else {}
        self._keep_servers_fields(live, found)
        if before is not None and owners == before.owners and found == live:
            return copied(live)
        if resource.kind == _CRD:
            found["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if before is None or owners != before.owners:
            metadata["managedFields"] = managed_fields(owners, resource.api_version, self._now())
        self._store(resource, key, Stored(found, owners), "MODIFIED" if before else "ADDED")
        if resource.kind == _CRD:
            self._serve(found)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._drop(resource, key)
        return copied(found)

    def set_status(self, resource: Resource, key: Key, status: Object) -> Object:
        """What a controller in the cluster writes to the status subresource."""
        found = self.find(resource, key)
        return self.put(resource, key, {**found.object, "status": status}, found.owners)

    def remove(self, resource: Resource, key: Key, *, orphan: bool = False) -> None:
        """Ask for deletion: gone at once, or marked while finalizers stand on it."""
        found = self.find(resource, key)
        metadata = found.object["metadata"]
        if not metadata.get("finalizers"):
            self._drop(resource, key, orphan=orphan)
        elif not metadata.get("deletionTimestamp"):
            marked = copied(found.object)
            marked["metadata"]["deletionTimestamp"] = self._now()
            self._store(resource, key, Stored(marked, found.owners), "MODIFIED")

    async def wait_beyond(self, revision: int) -> None:
        """Until something happened after `revision`, or the cluster came or went."""
        if self.revision <= revision:
            await self._changed.wait()

    def set_away(self, away: bool) -> None:
        self.away = away
        self._wake()

    def _keep_servers_fields(self, live: Object, found: Object) -> None:
        metadata, known = found["metadata"], live.get("metadata", {})
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "managedFields", "generation"):
            metadata.pop(name, None)
            if name in known:
                metadata[name] = copied(known[name])
        if not live:
            uid = uuid.UUID(int=self._chance.getrandbits(128), version=4)
            metadata |= {"uid": str(uid), "creationTimestamp": self._now()}
        metadata["resourceVersion"] = known.get("resourceVersion", "")
        if "spec" in found and found["spec"] != live.get("spec"):
            metadata["generation"] = known.get("generation", 0) + 1

    def _store(self, resource: Resource, key: Key, stored: Stored, change: str) -> None:
        self.revision += 1
        stored.object["metadata"]["resourceVersion"] = str(self.revision)
        self._objects.setdefault((resource.group, resource.plural), {})[key] = stored
        self._record(change, resource, key, stored.object)

    def _drop(self, resource: Resource, key: Key, *, orphan: bool = False) -> None:
        gone = self.objects(resource).pop(key).object
        self.revision += 1
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._record("DELETED", resource, key, gone)
        uid = gone["metadata"]["uid"]
        within = key[1] if resource.kind == "Namespace" else None
        served = _served(gone) if resource.kind == _CRD else []
        for other in list(self.kinds):
            for inner, stored in sorted(self.objects(other).items()):
                owned = not orphan and _owned_by(stored.object, uid)
                if owned or other in served or (within is not None and inner[0] == within):
                    self.remove(other, inner)
        self.kinds = [kind for kind in self.kinds if kind not in served]

    def _record(self, change: str, resource: Resource, key: Key, found: Object) -> None:
        kind = (resource.group, resource.plural)
        self.history.append(Change(self.revision, change, kind, key, copied(found)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _serve(self, definition: Object) -> None:
        self.kinds += [resource for resource in _served(definition) if resource not in self.kinds]

    def _refuse(self, resource: Resource, key: Key, body: Object, *, creating: bool) -> None:
        namespace, name = key
        if not _NAME.fullmatch(name):
            raise ApplyRefused(f"{resource.kind} name is invalid", where=resource.kind, status=422)
        if resource.namespaced and ("", namespace) not in self._objects.get(("", "namespaces"), {}):
            raise NotFound(f'namespaces "{namespace}" not found', where=f"{resource.kind} {namespace}/{name}")
        values = body.get("data") if resource.kind in ("ConfigMap", "Secret") else None
        if any(not isinstance(value, str) for value in (values or {}).values()):
            raise ApplyRefused("data must hold strings", where=resource.kind, status=500)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if not version:
            return
        if creating:
            raise ApplyRefused("resourceVersion must not be set", where=resource.kind, status=422)
        if version != self.find(resource, key).object["metadata"]["resourceVersion"]:
            raise KubeConflict("the object has been modified", where=f"{resource.kind} {name}")

    def _now(self) -> str:
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def refuse_existing(self, resource: Resource, key: Key) -> None:
        if key in self.objects(resource):
            raise AlreadyExists(f'{resource.plural} "{key[1]}" already exists', where=resource.kind)


def selector(text: str) -> Callable[[Object], bool]:
    """A label selector of `k=v`, `k!=v`, `k` and `!k`, joined by commas, as a test of an object."""
    terms = [term.strip() for term in text.split(",") if term.strip()]

    def matches(found: Object) -> bool:
        labels = (found.get("metadata") or {}).get("labels") or {}
        return all(_term(term, labels) for term in terms)

    return matches


def _term(term: str, labels: dict[str, str]) -> bool:
    if "!=" in term:
        key, value = term.split("!=", 1)
        return labels.get(key) != value
    if "=" in term:
        key, value = term.replace("==", "=").split("=", 1)
        return labels.get(key) == value
    return term[1:] not in labels if term.startswith("!") else term in labels


def _owned_by(found: Object, uid: str) -> bool:
    references: Iterable[Object] = found["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == uid for reference in references)


def _served(definition: Object) -> list[Resource]:
    spec = definition["spec"]
    names, namespaced = spec["names"], spec.get("scope") == "Namespaced"
    return [
        Resource(spec["group"], version["name"], names["plural"], names["kind"], namespaced)
        for version in spec["versions"]
        if version.get("served", True)
    ]


def _resources(table: str, namespaced: bool) -> list[Resource]:
    found = []
    for line in table.replace("\n", "|").split("|"):
        api_version, plural, kind = line.split()
        group, _, version = api_version.rpartition("/")
        found.append(Resource(group, version, plural, kind, namespaced))
    return found
