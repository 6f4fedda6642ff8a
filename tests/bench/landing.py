"""The bundle of 1,000 ConfigMaps on one cluster, applied once a run: for what is measured on it and with it."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from fleetbus.local.demo.repository import Repository
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import KubeEvent
from fleetbus.schemas.capabilities.bundles import BundlesState, BundleState
from fleetbus.schemas.errors import NotFound, TimeoutExpired
from fleetbus.schemas.states import State
from tests.bench.documents import OBJECTS, bundle, manifests, source, thousand
from tests.bench.proc import cpu_s
from tests.bench.repository import commit as commit_to
from tests.bench.stand import Stand, StoredHead, id_of, is_at
from tests.bench.watching import CONFIG_MAP, Sight, reports, watching, within

NAME = "thousand"
NAMESPACE = "bench-fleetbus"

_TIMEOUT_S = 120.0
_APPLIES = re.compile(
    rb'^apiserver_request_total\{[^}]*resource="configmaps"[^}]*verb="PATCH"[^}]*\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Landing:
    """The bundle as it landed first: the moments of its head, its last object, its report."""

    cluster: str
    repository: Repository
    committed_at: datetime
    published_at: datetime
    all_there_at: datetime
    reported_at: datetime
    ready_at: datetime
    sent: float
    """How many objects were sent for it."""
    cpu_s: float
    """What the agent has computed for it."""


async def landed(stand: Stand) -> Landing:
    """What the first call has applied. Raises TimeoutExpired."""
    if stand.landing is None:
        stand.say(f"a bundle of {OBJECTS} objects lands")
        stand.landing = await _land(stand)
    return stand.landing


async def _land(stand: Stand) -> Landing:
    cluster = stand.clusters[0]
    repository = Repository(stand.dir / NAME)
    await repository.create_empty()
    commit = await commit_to(repository, manifests(thousand()), "a thousand")
    await stand.namespace(cluster, NAMESPACE)
    await stand.operator.apply([source(NAME, repository.folder)], reason="bench")
    await stand.row("Source", NAME, lambda document: commit in str(document.get("status")))
    before, sent = await _head(stand, cluster), await applies(stand, cluster)
    pid = stand.fleet.agents[cluster].pid
    used_s = cpu_s(pid)
    async with AsyncExitStack() as stack:
        sight = await stack.enter_async_context(
            watching(stand.kubes[cluster], CONFIG_MAP, NAMESPACE, metadata_only=True)
        )
        told = await stack.enter_async_context(reports(stand.bus, id_of(cluster), stand.keys[cluster]))
        all_there, reported = _all(sight), told.expect(lambda state: applied_at(state, NAME, 1))
        ready = asyncio.create_task(
            stand.row("Bundle", NAME, lambda document: is_at(document, commit), timeout_s=_TIMEOUT_S)
        )
        try:
            committed_at = SystemClock().now()
            await stand.operator.apply([bundle(NAME, [cluster], NAMESPACE)], reason="bench")
            all_there_at = await within(all_there, _TIMEOUT_S, f"{OBJECTS} objects in {cluster}")
            reported_at = await within(reported, _TIMEOUT_S, "the report that they are applied")
            ready_at = await ready
        finally:
            ready.cancel()
    after = await stand.head(cluster)
    if before is not None and after.head.set == before.head.set:
        raise TimeoutExpired("the head did not change")
    return Landing(
        cluster,
        repository,
        committed_at,
        after.stored_at,
        all_there_at,
        reported_at,
        ready_at,
        await applies(stand, cluster) - sent,
        cpu_s(pid) - used_s,
    )


async def _head(stand: Stand, cluster: str) -> StoredHead | None:
    try:
        return await stand.head(cluster)
    except NotFound:
        return None


async def applies(stand: Stand, cluster: str) -> float:
    """How many patches (and so applies) of ConfigMaps the apiserver has seen so far."""
    metrics = await stand.fleet.clusters[cluster].admin.request("GET", "/metrics")
    return sum(float(value) for value in _APPLIES.findall(metrics))


def _all(sight: Sight[KubeEvent]) -> asyncio.Future[datetime]:
    """When every one of the objects has been seen."""
    seen: set[str] = set()

    def last(event: KubeEvent) -> bool:
        name = str((event.object.get("metadata") or {}).get("name") or "")
        if name.startswith("settings-"):
            seen.add(name)
        return len(seen) == OBJECTS

    return sight.expect(last)


def applied_at(state: State, name: str, generation: int) -> bool:
    """Whether a state reports the bundle as applied and healthy at a generation (or a later one)."""
    found = _bundle(state, name)
    return (
        found is not None
        and found.generation >= generation
        and bool(found.artifact)
        and found.applied_artifact == found.artifact
        and any(one.type == "Ready" and one.status == "True" for one in found.conditions)
    )


def _bundle(state: State, name: str) -> BundleState | None:
    if not state.aspect.startswith("bundles-"):
        return None
    return next((one for one in BundlesState.from_json(state.body).bundles if one.name == name), None)
