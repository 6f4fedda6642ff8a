"""What the steps of the demo share, and what they ask of the clusters."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fleetbus.client import Fleet
from fleetbus.local.demo.repository import Repository
from fleetbus.local.demo.stage import Stage
from fleetbus.local.demo.witness import Expected, Witness
from fleetbus.local.fleet import LocalFleet
from fleetbus.schemas.errors import KubeUnavailable, NotFound

NAMESPACE = "shop"


@dataclass(slots=True)
class Scene:
    """The fleet, where it is shown, the repository, the subscriber. `expected`: events by the step's number."""

    fleet: LocalFleet
    client: Fleet
    stage: Stage
    repository: Repository
    witness: Witness
    folder: Path
    began: dict[int, datetime] = field(default_factory=dict)
    expected: dict[int, list[Expected]] = field(default_factory=dict)
    step: int = 0

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(self.fleet.clusters)

    @property
    def last(self) -> str:
        """A cluster to try things on: the last one."""
        return self.clusters[-1]

    @property
    def first(self) -> str:
        return self.clusters[0]

    def bundle_of(self, cluster: str) -> str:
        """The bundle whose placement picks this cluster: production has the overlay."""
        return "shop-prod" if is_production(cluster) else "shop"

    @property
    def bundles(self) -> tuple[str, ...]:
        return tuple(sorted({self.bundle_of(cluster) for cluster in self.clusters}))

    def expect(self, type: str, subject: str, clusters: Iterable[str] = ("",)) -> None:
        """This step's events, each exactly once: judged at the end."""
        wanted = self.expected.setdefault(self.step, [])
        wanted += [Expected(type, subject, cluster) for cluster in clusters]

    async def read(self, cluster: str, path: str) -> dict[str, Any] | None:
        """An object of a cluster as its apiserver has it; None when it is not there."""
        try:
            return await self.fleet.clusters[cluster].admin.get(path)
        except NotFound:
            return None

    async def setting(self, cluster: str, key: str) -> str:
        """A value of the shop's ConfigMap, or what is in its place."""
        try:
            found = await self.read(cluster, f"/api/v1/namespaces/{NAMESPACE}/configmaps/settings")
        except KubeUnavailable:
            return "<no answer>"
        return str(found["data"].get(key, "<none>")) if found else "<no object>"

    async def all_settings(self, key: str, wanted: str) -> tuple[bool, str]:
        """Whether every cluster has this value, and what each has."""
        values = {cluster: await self.setting(cluster, key) for cluster in self.clusters}
        return set(values.values()) == {wanted}, ", ".join(
            f"{name} {value}" for name, value in values.items()
        )

    async def secret(self, cluster: str, name: str, key: str) -> str | None:
        """A value of a Secret, for comparing; it is never shown."""
        found = await self.read(cluster, f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
        return base64.b64decode(found["data"][key]).decode() if found else None


def is_production(cluster: str) -> bool:
    return cluster.partition("-")[0] == "prod"
