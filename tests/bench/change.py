"""One object changes: from the published head to the object, and from the commit to all clusters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import KubeEvent
from fleetbus.schemas.errors import TimeoutExpired
from tests.bench.documents import as_yaml, bundle, config_map, source
from tests.bench.figures import Figure, figure, percentile
from tests.bench.repository import Repository
from tests.bench.stand import Stand, is_at
from tests.bench.watching import CONFIG_MAP, Sight, watching, within

NAME = "change"
NAMESPACE = "bench-change"
CHANGES = 200

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
    repository = Repository(stand.dir / NAME)
    await repository.create()
    async with AsyncExitStack() as stack:
        sights = []
        for cluster in stand.clusters:
            await stand.namespace(cluster, NAMESPACE)
            sights.append(
                await stack.enter_async_context(watching(stand.kubes[cluster], CONFIG_MAP, NAMESPACE))
            )
        commit = await repository.commit(_files(0), "the first value")
        documents = [source(NAME, repository.folder), bundle(NAME, stand.clusters, NAMESPACE)]
        await stand.operator.apply(documents, reason="bench")
        await stand.row("Bundle", NAME, lambda document: is_at(document, commit))
        took = []
        for number in range(1, stand.rounds(CHANGES) + 1):
            took.append(await _change(stand, repository, sights, number))
            if number % 50 == 0:
                stand.say(f"{number} changes")
    await stand.gone("Bundle", NAME)
    await stand.gone("Source", NAME)
    return _figures(took, len(stand.clusters))


async def _change(
    stand: Stand, repository: Repository, sights: Sequence[Sight[KubeEvent]], number: int
) -> _Took:
    commit = await repository.commit(_files(number), f"value {number}")
    wanted = f"value {number}"
    seeing = [sight.expect(lambda event: _value(event) == wanted) for sight in sights]
    reporting = asyncio.create_task(stand.row("Bundle", NAME, lambda document: is_at(document, commit)))
    try:
        clock = SystemClock()
        pushed_at = clock.now()
        await stand.operator.sync("Source", NAME)
        synced_at = clock.now()
        seen = [await within(one, _TIMEOUT_S, f"{wanted} in every cluster") for one in seeing]
        heads = [(await stand.head(cluster)).stored_at for cluster in stand.clusters]
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


def _figures(took: Sequence[_Took], clusters: int) -> list[Figure]:
    delivered = [one for each in took for one in each.delivered]
    applied, reported = [one.applied for one in took], [one.reported for one in took]
    synced, published = [one.synced for one in took], [one.published for one in took]
    ocm = "Open Cluster Management's work agent"
    return [
        figure("published → object changed, p50", percentile(delivered, 50), "ms", ocm, 20, aim="< 12"),
        figure("published → object changed, p99", percentile(delivered, 99), "ms", ocm, 66, aim="< 40"),
        figure(f"git push → {clusters} clusters, p50", percentile(applied, 50), "ms", aim="< 500"),
        figure(f"git push → {clusters} clusters, p99", percentile(applied, 99), "ms", aim="< 500"),
        figure("git push → published, p50", percentile(published, 50), "ms"),
        figure("git push → sync has answered, p50", percentile(synced, 50), "ms"),
        figure("git push → status says Ready, p50", percentile(reported, 50), "ms"),
        figure("git push → status says Ready, p99", percentile(reported, 99), "ms"),
    ]
