"""What an agent costs its cluster: memory and CPU, with nothing to do and with 1,000 objects under watch."""

from __future__ import annotations

from fleetbus.runtime.clock import SystemClock
from tests.bench.figures import Figure, figure
from tests.bench.landing import landed
from tests.bench.proc import cpu_s, proportional_mb, resident_mb
from tests.bench.stand import Stand

WINDOW_S = 20.0
_SETTLE_S = 5.0


async def measure_idle(stand: Stand) -> list[Figure]:
    """Before there is any bundle."""
    return await _measure(stand, stand.clusters[0], "idle", flux_mb=74, aim="< 65")


async def measure_watched(stand: Stand) -> list[Figure]:
    """With the objects in place and nothing that changes."""
    cluster = (await landed(stand)).cluster
    return await _measure(stand, cluster, "1,000 objects watched", flux_mb=95, aim="< 80")


async def _measure(stand: Stand, cluster: str, when: str, *, flux_mb: float, aim: str) -> list[Figure]:
    clock, pid = SystemClock(), stand.fleet.agents[cluster].pid
    await clock.sleep(_SETTLE_S)
    used_s, began_s = cpu_s(pid), clock.monotonic_s()
    await clock.sleep(WINDOW_S)
    share = (cpu_s(pid) - used_s) / (clock.monotonic_s() - began_s) * 100
    return [
        figure(f"agent, {when}: memory", resident_mb(pid), "MB", "Flux", flux_mb, aim=aim),
        figure(f"agent, {when}: memory, proportional", proportional_mb(pid), "MB"),
        figure(f"agent, {when}: CPU", share, "% of a core", aim="< 1"),
    ]
