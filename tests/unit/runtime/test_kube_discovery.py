"""Discovery: what it reads, what it keeps, and how seldom it asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube_discovery import Discovery, parsed
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import KubeUnavailable, NotFound


class Clock(SystemClock):
    """Sleeping moves it, nothing else does."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        await asyncio.sleep(0)


def kind(plural: str, name: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "", "kind": name},
        "scope": scope,
        "subresources": [{"subresource": "status"}],
    }


def group(name: str, **versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "versions": [{"version": version, "resources": kinds} for version, kinds in versions.items()],
    }


def document(*groups: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "APIGroupDiscoveryList", "items": list(groups)}


class Server:
    def __init__(self) -> None:
        self.asked = 0
        self.apis = document(group("apps", v1=[kind("deployments", "Deployment")]))

    async def fetch(self, path: str, accept: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        if path == "/apis":
            self.asked += 1
            return self.apis
        return document(group("", v1=[kind("nodes", "Node", "Cluster")]))


def test_the_first_version_that_has_a_kind_is_preferred() -> None:
    new, old = [kind("widgets", "Widget")], [kind("widgets", "Widget"), kind("gadgets", "Gadget")]
    found = list(parsed(document(group("g", v2=new, v1=old))))
    assert found == [
        (Resource("g", "v2", "widgets", "Widget", True), True),
        (Resource("g", "v1", "widgets", "Widget", True), False),
        (Resource("g", "v1", "gadgets", "Gadget", True), True),
    ]


def test_an_older_server_s_document_is_refused_and_odd_entries_are_passed_over() -> None:
    with pytest.raises(KubeUnavailable, match="aggregated discovery"):
        list(parsed({"kind": "APIGroupList", "groups": []}))
    assert list(parsed(document(group("g", v1=[{"resource": "x"}, {"responseKind": {"kind": "X"}}])))) == []
    assert list(parsed({"kind": "APIGroupDiscoveryList", "items": None})) == []


async def test_what_is_known_is_not_asked_again_and_a_miss_is_at_most_once_a_second() -> None:
    clock, server = Clock(), Server()
    discovery = Discovery(server.fetch, clock)
    assert (await discovery.resource("v1", "Node")).namespaced is False
    assert (await discovery.resource("apps/v1", "Deployment")).plural == "deployments"
    assert server.asked == 1
    clock.at_s = 0.25
    with pytest.raises(NotFound):
        await discovery.resource("g/v1", "Widget")
    assert (server.asked, clock.at_s) == (2, 1.0)


async def test_a_kind_that_came_meanwhile_is_found_by_all_who_wait_with_one_question() -> None:
    clock, server = Clock(), Server()
    discovery = Discovery(server.fetch, clock)
    await discovery.resource("v1", "Node")
    clock.at_s = 0.25
    server.apis = document(group("g", v1=[kind("widgets", "Widget")]))
    found = await asyncio.gather(*(discovery.resource("g/v1", "Widget") for _ in range(20)))
    assert {resource.plural for resource in found} == {"widgets"}
    assert server.asked == 2


async def test_the_whole_list_is_at_most_a_minute_old() -> None:
    clock, server = Clock(), Server()
    discovery = Discovery(server.fetch, clock)
    assert [resource.kind for resource in await discovery.all()] == ["Node", "Deployment"]
    clock.at_s = 30
    await discovery.all()
    assert server.asked == 1
    clock.at_s = 61
    await discovery.all()
    assert server.asked == 2
