"""The loop that works on keys: once at a time, once in the queue, later after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleetbus.controller.worklist import Worklist, pause_s
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import BusUnavailable
from tests.waiting import wait_until

CLOCK = SystemClock()


@asynccontextmanager
async def running(worklist: Worklist[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(worklist.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(worklist: Worklist[str], *keys: str) -> None:
    async def idle() -> bool:
        return not worklist.busy(keys)

    assert await wait_until(idle, CLOCK, 2, 0.005)


async def test_a_key_is_in_the_queue_once_and_runs_again_when_added_meanwhile() -> None:
    runs: list[str] = []
    entered, go = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> float | None:
        runs.append(key)
        entered.set()
        await go.wait()
        return None

    worklist: Worklist[str] = Worklist(CLOCK, work)
    for _ in range(3):
        worklist.add("a")
    async with running(worklist):
        await entered.wait()
        for _ in range(3):
            worklist.add("a")
        go.set()
        await until(worklist, "a")
    assert runs == ["a", "a"]


async def test_never_more_than_so_many_at_once_and_never_one_key_twice() -> None:
    inside: list[str] = []
    most = 0

    async def work(key: str) -> float | None:
        nonlocal most
        assert key not in inside
        inside.append(key)
        most = max(most, len(inside))
        await asyncio.sleep(0.001)
        inside.remove(key)
        return None

    worklist: Worklist[str] = Worklist(CLOCK, work, at_once=3)
    keys = [f"k{number % 9}" for number in range(60)]
    async with running(worklist):
        for key in keys:
            worklist.add(key)
            await asyncio.sleep(0)
        await until(worklist, *keys)
    assert most == 3


async def test_a_transient_failure_is_tried_again_and_nothing_else_stops() -> None:
    runs: list[str] = []

    async def work(key: str) -> float | None:
        runs.append(key)
        if key == "bad" and runs.count("bad") < 3:
            raise BusUnavailable("away")
        return None

    worklist: Worklist[str] = Worklist(CLOCK, work)
    async with running(worklist):
        worklist.add("bad")
        worklist.add("good")

        async def all_done() -> bool:
            return runs.count("bad") == 3

        assert await wait_until(all_done, CLOCK, 2, 0.01)
    assert runs.count("good") == 1


async def test_work_that_wants_to_run_again_does() -> None:
    runs = 0

    async def work(key: str) -> float | None:
        nonlocal runs
        runs += 1
        return 0.005 if runs < 4 else None

    worklist: Worklist[str] = Worklist(CLOCK, work)
    async with running(worklist):
        worklist.add("a")

        async def four_times() -> bool:
            return runs == 4

        assert await wait_until(four_times, CLOCK, 2, 0.005)


async def test_runs_of_one_key_keep_their_distance_and_the_last_change_is_not_lost() -> None:
    seen: list[int] = []
    added: list[int] = []

    async def work(key: str) -> float | None:
        seen.append(len(added))
        return None

    worklist: Worklist[str] = Worklist(CLOCK, work, spacing_s=lambda: 0.1)
    async with running(worklist):
        for number in range(29):
            added.append(number)
            worklist.add("a")
            await asyncio.sleep(0.005)
        await until(worklist, "a")
    assert seen[0] == 1
    assert seen[-1] == 29
    assert len(seen) <= 4


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause_s(failures) for failures in range(1, 40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.25, 60.0)
