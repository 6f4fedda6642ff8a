"""Which kinds an API server has, from aggregated discovery (Kubernetes 1.27 and later)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import KubeUnavailable, NotFound

ACCEPT = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for version in ("v2", "v2beta1")
)

_AT_MOST_EVERY_S = 1.0
_FRESH_S = 60.0


class Discovery:
    """The kinds of one API server, kept; asked for again, at most once a second, when one is unknown."""

    def __init__(self, fetch: Callable[[str, str], Awaitable[dict[str, Any]]], clock: Clock) -> None:
        """`fetch(path, accept)` gives a JSON document and raises the port's errors."""
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: dict[tuple[str, str], Resource] = {}
        self._preferred: list[Resource] = []
        self._asked_at_s = float("-inf")

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises NotFound when the API, asked after this call began, has no such kind."""
        wanted = (api_version, kind)
        if wanted not in self._known:
            await self._refresh(self._clock.monotonic_s())
        found = self._known.get(wanted)
        if found is None:
            raise NotFound(
                f"the cluster has no kind {kind} in {api_version}",
                where=kind,
                remedy="install its CustomResourceDefinition first, or correct apiVersion and kind",
            )
        return found

    async def all(self) -> list[Resource]:
        """Every kind at its group's preferred version; at most a minute old."""
        await self._refresh(self._clock.monotonic_s() - _FRESH_S)
        return list(self._preferred)

    async def _refresh(self, newer_than_s: float) -> None:
        """Ask again unless that was begun after a monotonic time; callers that wait share one answer."""
        async with self._lock:
            if self._asked_at_s >= newer_than_s:
                return
            wait_s = self._asked_at_s + _AT_MOST_EVERY_S - self._clock.monotonic_s()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            began_s = self._clock.monotonic_s()
            known: dict[tuple[str, str], Resource] = {}
            preferred: list[Resource] = []
            for path in ("/api", "/apis"):
                for resource, is_preferred in parsed(await self._fetch(path, ACCEPT)):
                    known.setdefault((resource.api_version, resource.kind), resource)
                    if is_preferred:
                        preferred.append(resource)
            self._known, self._preferred, self._asked_at_s = known, preferred, began_s


def parsed(document: dict[str, Any]) -> Iterator[tuple[Resource, bool]]:
    """The kinds in an APIGroupDiscoveryList, and whether each stands at its group's preferred version.

    Raises KubeUnavailable for another document, which older servers give.
    """
    if document.get("kind") != "APIGroupDiscoveryList":
        raise KubeUnavailable(
            "the API server has no aggregated discovery", remedy="it needs Kubernetes 1.27 or later"
        )
    for group in document.get("items") or []:
        name = str((group.get("metadata") or {}).get("name") or "")
        seen: set[str] = set()
        for version in group.get("versions") or []:
            for entry in version.get("resources") or []:
                resource = _resource(name, str(version.get("version")), entry)
                if resource is not None:
                    yield resource, resource.plural not in seen
                    seen.add(resource.plural)


def _resource(group: str, version: str, entry: dict[str, Any]) -> Resource | None:
    kind = (entry.get("responseKind") or {}).get("kind")
    plural = entry.get("resource")
    if not kind or not plural:
        return None
    return Resource(group, version, str(plural), str(kind), entry.get("scope") == "Namespaced")
