"""The fleet that is measured, with the ways in which the bench looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetbus.cli import view
from fleetbus.client import Fleet
from fleetbus.controller.settings import load_settings, read_credential
from fleetbus.local.fleet import LocalFleet
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Head
from fleetbus.schemas.errors import NotFound, TimeoutExpired
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.streams import DESIRED
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from tests.bench.landing import Landing

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A head as DESIRED has it now."""

    head: Head
    sequence: int
    stored_at: datetime


@dataclass(slots=True)
class Stand:
    """`bus` has the controller's own credential; `kubes` the admins'. `short` takes a tenth of the rounds."""

    fleet: LocalFleet
    operator: Fleet
    bus: NatsBus
    kubes: Mapping[str, KubeClient]
    keys: Mapping[str, str]
    """Cluster → the public key of its agent."""
    dir: Path
    say: Callable[[str], None]
    short: bool = False
    landing: Landing | None = None

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(self.kubes)

    def rounds(self, whole: int) -> int:
        return max(1, whole // 10) if self.short else whole

    async def head(self, cluster: str) -> StoredHead:
        """By direct get. Raises NotFound before the first."""
        subject = subjects.desired(id_of(cluster))
        found = await self.bus.get_last(DESIRED.name, subject)
        if found is None or found.stored_at is None:
            raise NotFound("there is no head", where=subject)
        return StoredHead(Head.from_bytes(unverified(found.data)), found.sequence, found.stored_at)

    async def row(
        self, kind: str, name: str, is_so: Callable[[Document], bool], *, timeout_s: float = 60.0
    ) -> datetime:
        """When a watch of the API first shows the document so. Raises TimeoutExpired with its conditions."""
        clock, last = SystemClock(), "nothing"
        try:
            async with (
                asyncio.timeout(timeout_s),
                aclosing(self.operator.watch(kind, names=(name,))) as lists,
            ):
                async for found in lists:
                    for row in found.rows:
                        if is_so(row.document):
                            return clock.now()
                        last = told(row.document)
        except TimeoutError as cause:
            raise TimeoutExpired(
                f"{kind} {name} is not as expected after {timeout_s:g} s: {last}",
                remedy=f"read {self.fleet.controller.log}",
            ) from cause
        raise TimeoutExpired(f"the watch of {kind} {name} ended")

    async def gone(self, kind: str, name: str, *, timeout_s: float = 60.0) -> None:
        """Delete a document and wait until every receipt is in. Raises TimeoutExpired."""
        await self.operator.delete(kind, name, reason="bench")
        clock = SystemClock()
        end = clock.monotonic_s() + timeout_s
        while await self._is_there(kind, name):
            if clock.monotonic_s() > end:
                raise TimeoutExpired(f"{kind} {name} is still there after {timeout_s:g} s")
            await clock.sleep(0.05)

    async def _is_there(self, kind: str, name: str) -> bool:
        try:
            return bool((await self.operator.list(kind, names=(name,))).rows)
        except NotFound:
            return False

    async def namespace(self, cluster: str, name: str) -> None:
        """A fresh namespace."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.fleet.clusters[cluster].admin.create("/api/v1/namespaces", body)


def id_of(cluster: str) -> ClusterId:
    return ClusterId("main", cluster)


def is_ready(document: Document) -> bool:
    """Ready, and judged at the generation that stands there."""
    judged = view.observed_generation(document) == view.generation(document)
    return judged and view.condition(document, view.READY).get("status") == "True"


def is_at(document: Document, commit: str) -> bool:
    """A bundle that is Ready at a commit, on every cluster that it is placed on."""
    details = view.details(document)
    at_commit = str(details.get("revision", "")).endswith(commit)
    return (
        at_commit and is_ready(document) and details.get("updated") == len(view.texts(details.get("placed")))
    )


def told(document: Document) -> str:
    """The conditions in one line."""
    found = [
        f"{one.get('type')} {one.get('status')} {one.get('reason')}" for one in view.conditions(document)
    ]
    return ", ".join(found) or "no conditions"


@asynccontextmanager
async def stand(dir: Path, say: Callable[[str], None], *, short: bool = False) -> AsyncIterator[Stand]:
    """Three clusters with their controller and agents, Ready, and ended with the context."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(LocalFleet(dir / "fleet", progress=say))
        operator = await stack.enter_async_context(fleet.connect())
        bus = await stack.enter_async_context(NatsBus(_controllers(fleet), clock))
        await bus.wait_connected()
        kubes = {
            name: await stack.enter_async_context(
                KubeClient(KubeAccess.from_kubeconfig(plane.kubeconfig), clock)
            )
            for name, plane in fleet.clusters.items()
        }
        rows = (await operator.list("Cluster")).rows
        keys = {row.document["metadata"]["name"]: str(row.document["spec"]["key"]) for row in rows}
        yield Stand(fleet, operator, bus, kubes, keys, dir, say, short)


def _controllers(fleet: LocalFleet) -> BusSettings:
    settings = load_settings(fleet.folder / "controller.json")
    return BusSettings(
        servers=settings.bus_servers,
        credential=read_credential(settings.bus_credential_file),
        inbox_prefix=subjects.CONTROLLER_INBOX,
        name="bench",
        trust=Trust(ca_file=settings.bus_ca_file),
    )
