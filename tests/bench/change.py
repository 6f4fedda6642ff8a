"""One object changes: from the published head to the object, and from the commit to all clusters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from fleetbus.local.demo.repository import Repository
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import KubeEvent
from fleetbus.schemas.errors import TimeoutExpired
from tests.bench.documents import as_yaml, bundle, config_map, source
from tests.bench.figures import Figure, figure, percentile
from tests.bench.repository import commit as commit_to
from tests.bench.stand import Stand, is_at
from tests.bench.watching import CONFIG_MAP, Sight, watching, within

CHANGES = 200
CHANGES_OF_ONE = 100

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Took:
    """One change, in milliseconds. `delivered`: head → object, a sample a cluster."""

    delivered: tuple[float, ...]
    published: float
    """Commit → last head stored."""
    synced: float
    """Commit → the answer of sync."""
    applied: float
    """Commit → object in the last cluster."""
    reported: float
    """Commit → the bundle's status says so of all clusters."""


async def measure(stand: Stand) -> list[Figure]:
    """On every cluster, which is what a fleet does; then on one, as a peer that has only one agent is measured."""
    everywhere = await _measure(stand, "change", stand.clusters, stand.rounds(CHANGES))
    alone = await _measure(stand, "change-one", stand.clusters[:1], stand.rounds(CHANGES_OF_ONE))
    return [*_delivered(everywhere), *_delivered(alone), *_followed(everywhere)]


async def _measure(stand: Stand, name: str, clusters: Sequence[str], changes: int) -> list[_Took]:
    repository = Repository(stand.dir / name)
    await repository.create_empty()
    namespace = f"bench-{name}"
    async with AsyncExitStack() as stack:
        sights = {}
        for cluster in clusters:
            await stand.namespace(cluster, namespace)
            sight = watching(stand.kubes[cluster], CONFIG_MAP, namespace)
            sights[cluster] = await stack.enter_async_context(sight)
        commit = await commit_to(repository, _files(0), "the first value")
        documents = [source(name, repository.folder), bundle(name, clusters, namespace)]
        await stand.operator.apply(documents, reason="bench")
        await stand.row("Bundle", name, lambda document: is_at(document, commit))
        took = []
        for number in range(1, changes + 1):
            took.append(await _change(stand, repository, name, sights, number))
            if number % 50 == 0:
                stand.say(f"{number} changes, {_where(took)}")
    await stand.gone("Bundle", name)
    await stand.gone("Source", name)
    return took


async def _change(
    stand: Stand, repository: Repository, name: str, sights: Mapping[str, Sight[KubeEvent]], number: int
) -> _Took:
    commit = await commit_to(repository, _files(number), f"value {number}")
    wanted = f"value {number}"
    seeing = [sight.expect(lambda event: _value(event) == wanted) for sight in sights.values()]
    reporting = asyncio.create_task(stand.row("Bundle", name, lambda document: is_at(document, commit)))
    try:
        clock = SystemClock()
        pushed_at = clock.now()
        await stand.operator.sync("Source", name)
        synced_at = clock.now()
        seen = [await within(one, _TIMEOUT_S, f"{wanted} in every cluster") for one in seeing]
        heads = [(await stand.head(cluster)).stored_at for cluster in sights]
        reported_at = await reporting
    finally:
        reporting.cancel()
    if any(at < head for at, head in zip(seen, heads, strict=True)):
        raise TimeoutExpired("a head was published again after the change had been seen")
    return _Took(
        delivered=tuple(_ms(head, at) for head, at in zip(heads, seen, strict=True)),
        published=_ms(pushed_at, max(heads)),
        synced=_ms(pushed_at, synced_at),
        applied=_ms(pushed_at, max(seen)),
        reported=_ms(pushed_at, reported_at),
    )


def _files(number: int) -> dict[str, str]:
    return {"settings.yaml": as_yaml(config_map("settings", f"value {number}"))}


def _value(event: KubeEvent) -> str:
    is_ours = (event.object.get("metadata") or {}).get("name") == "settings"
    return str((event.object.get("data") or {}).get("value")) if is_ours else ""


def _ms(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() * 1000


def _delivered(took: Sequence[_Took]) -> list[Figure]:
    samples = [one for each in took for one in each.delivered]
    where = _where(took)
    ocm = "Open Cluster Management's work agent"
    return [
        figure(
            f"published → object changed, {where}, p50", percentile(samples, 50), "ms", ocm, 20, aim="< 12"
        ),
        figure(
            f"published → object changed, {where}, p99", percentile(samples, 99), "ms", ocm, 66, aim="< 40"
        ),
    ]


def _followed(took: Sequence[_Took]) -> list[Figure]:
    """What a push goes through, stage by stage."""
    applied, reported = [one.applied for one in took], [one.reported for one in took]
    where = _where(took)
    return [
        figure(f"git push → applied, {where}, p50", percentile(applied, 50), "ms", aim="< 500"),
        figure(f"git push → applied, {where}, p99", percentile(applied, 99), "ms", aim="< 500"),
        figure("git push → published, p50", percentile([one.published for one in took], 50), "ms"),
        figure("git push → sync has answered, p50", percentile([one.synced for one in took], 50), "ms"),
        figure("git push → status says Ready, p50", percentile(reported, 50), "ms"),
        figure("git push → status says Ready, p99", percentile(reported, 99), "ms"),
    ]


def _where(took: Sequence[_Took]) -> str:
    count = len(took[0].delivered)
    return "1 cluster" if count == 1 else f"{count} clusters"
