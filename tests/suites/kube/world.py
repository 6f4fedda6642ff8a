"""What both suites of the port `Kube` stand on: a namespace on either cluster, objects, kinds, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import Kube, KubeEvent, Resource
from fleetbus.schemas.errors import NotFound
from tests.waiting import wait_until

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
SECRET = Resource("", "v1", "secrets", "Secret", True)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", False)
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment", True)
CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)

CLOCK = SystemClock()
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """A cluster with a namespace for the test alone; `access` is None on the simulated one."""

    namespace: str
    access: KubeAccess | None


def config_map(name: str, labels: dict[str, str] | None = None, **values: Any) -> Object:
    metadata: Object = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": values}


async def put(kube: Kube, world: World, body: Object, manager: str = "one", *, force: bool = False) -> Object:
    name = body["metadata"]["name"]
    return await kube.apply(CONFIG_MAP, world.namespace, name, body, field_manager=manager, force=force)


class Widgets:
    """A kind `Widget` in a group of its own for a test, as its CustomResourceDefinition; removed at the end."""

    def __init__(self, kube: Kube, world: World, *, make: bool = True) -> None:
        self._kube, self._make = kube, make
        self._group = f"{world.namespace}.example.com"

    async def __aenter__(self) -> tuple[str, str]:
        name = f"widgets.{self._group}"
        if self._make:
            await self._kube.create(CRD, "", definition(name))
        return f"{self._group}/v1", name

    async def __aexit__(self, *error: object) -> None:
        await self._kube.delete(CRD, "", f"widgets.{self._group}")


def definition(name: str) -> Object:
    plural, group = name.split(".", 1)
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {}}}}}
    schema["properties"]["spec"]["properties"]["size"] = {"type": "integer"}  # type: ignore[index]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "names": {"plural": plural, "singular": "widget", "kind": "Widget"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


async def served(kube: Kube, api_version: str) -> Resource:
    async def known() -> bool:
        try:
            await kube.resource(api_version, "Widget")
        except NotFound:
            return False
        return True

    assert await wait_until(known, CLOCK, 30)
    return await kube.resource(api_version, "Widget")


async def missing(kube: Kube, resource: Resource, namespace: str, name: str) -> bool:
    try:
        await kube.get(resource, namespace, name)
    except NotFound:
        return True
    return False


def brief(events: list[KubeEvent]) -> list[str]:
    return [
        f"{event.type} {(event.object.get('metadata') or {}).get('name', '')}".strip() for event in events
    ]


async def until(events: AsyncIterator[KubeEvent], last: str) -> list[KubeEvent]:
    seen: list[KubeEvent] = []
    async with asyncio.timeout(30):
        async for event in events:
            seen.append(event)
            if brief([event]) == [last]:
                return seen
    raise AssertionError("the watch ended")
