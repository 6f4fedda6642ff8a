"""Somebody edits an object by hand: how long until it is put back."""

from __future__ import annotations

import random
from datetime import datetime

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import KubeEvent
from tests.bench.documents import OBJECTS
from tests.bench.figures import Figure, figure, percentile
from tests.bench.landing import NAMESPACE, landed
from tests.bench.stand import Stand
from tests.bench.watching import CONFIG_MAP, Sight, watching, within

EDITS = 100

_SEED = 7
_BETWEEN_S = 0.1
_TIMEOUT_S = 30.0


async def measure(stand: Stand) -> list[Figure]:
    """Edits of different objects, one after the other; a field of ours gets another value and another manager."""
    cluster = (await landed(stand)).cluster
    clock = SystemClock()
    chosen = random.Random(_SEED).sample(range(OBJECTS), stand.rounds(EDITS))
    took: list[float] = []
    async with watching(stand.kubes[cluster], CONFIG_MAP, NAMESPACE) as sight:
        for number in chosen:
            took.append(await _edit(stand, cluster, sight, number))
            await clock.sleep(clock.jitter(_BETWEEN_S, 0.5))
    return [
        figure("hand edit → put back, p50", percentile(took, 50), "ms", "peers: minutes", aim="< 50"),
        figure("hand edit → put back, p99", percentile(took, 99), "ms", "peers: minutes", aim="< 250"),
    ]


async def _edit(stand: Stand, cluster: str, sight: Sight[KubeEvent], number: int) -> float:
    """Milliseconds from when the edit counts: it is answered or seen, whichever comes first."""
    name, clock = f"settings-{number:04}", SystemClock()
    edited = sight.expect(lambda event: _value(event, name) == "edited")
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"

    def is_back(event: KubeEvent) -> bool:
        return edited.done() and _value(event, name) == f"value {number}"

    back = sight.expect(is_back)
    await stand.fleet.clusters[cluster].admin.request(
        "PATCH",
        path,
        {"data": {"value": "edited"}},
        content_type="application/merge-patch+json",
        query={"fieldManager": "somebody"},
    )
    answered_at = clock.now()
    edited_at = await within(edited, _TIMEOUT_S, f"the edit of {name}")
    back_at = await within(back, _TIMEOUT_S, f"{name} is put back")
    return _ms(min(answered_at, edited_at), back_at)


def _value(event: KubeEvent, name: str) -> str:
    is_it = (event.object.get("metadata") or {}).get("name") == name
    return str((event.object.get("data") or {}).get("value")) if is_it else ""


def _ms(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() * 1000
