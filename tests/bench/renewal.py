"""A credential is renewed again and again while heads are written: how many nudges are lost, how long none comes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from fleetbus.local.processes import Processes
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import TimeoutExpired
from fleetbus.schemas.subjects import MAIN, ClusterId
from tests.bench.figures import Figure, figure, percentile
from tests.bench.stand import Stand
from tests.bus_server import FleetServer, fleet_server, renewed

RENEWALS = 200
_CLUSTER = ClusterId(MAIN, "c1")
_CLOCK = SystemClock()
_LAST_S = 10.0


async def measure(stand: Stand) -> list[Figure]:
    directory = stand.dir / "renewal"
    async with Processes(directory / "logs") as processes, fleet_server(processes, directory, "bus") as fleet:
        return await _measure(fleet, stand.rounds(RENEWALS))


async def _measure(fleet: FleetServer, renewals: int) -> list[Figure]:
    written: list[int] = []
    seen: dict[int, float] = {}
    async with (
        fleet.bus("controller") as controller,
        fleet.bus("c1") as agent,
        agent.subscribe(subjects.nudges(_CLUSTER)) as nudges,
    ):

        async def listen() -> None:
            async for nudge in nudges:
                seen[nudge.sequence] = _CLOCK.monotonic_s()

        async def write() -> None:
            while True:
                written.append(await controller.put(Put(subjects.desired(_CLUSTER), b"head")))

        listening, writing = asyncio.create_task(listen()), asyncio.create_task(write())
        took: list[float] = []
        for _ in range(renewals):
            following = await renewed(fleet, "c1")
            began_s = _CLOCK.monotonic_s()
            await agent.change_credential(following)
            took.append(_CLOCK.monotonic_s() - began_s)
        writing.cancel()
        lost = await _lost(written, seen)
        listening.cancel()
    times = sorted(seen.values())
    longest = max(after - before for before, after in pairwise(times))
    return [
        figure(f"nudges lost in {renewals} renewals, of {len(written)}", lost, "", aim="0"),
        figure("renewal: connecting anew, p50", percentile(took, 50) * 1000, "ms"),
        figure("longest time without a nudge meanwhile", longest * 1000, "ms"),
    ]


async def _lost(written: list[int], seen: dict[int, float]) -> int:
    end = _CLOCK.monotonic_s() + _LAST_S
    while _CLOCK.monotonic_s() < end and not seen.keys() >= set(written):
        await _CLOCK.sleep(0.05)
    if not written:
        raise TimeoutExpired("no head was written")
    return len(set(written) - seen.keys())
