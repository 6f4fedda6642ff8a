"""The loop that repeats: it ends when it is cancelled whatever fails, and survives what wakes it."""

from __future__ import annotations

import asyncio
import random

import pytest

from fleetbus.runtime.loop import repeat
from fleetbus.schemas.errors import KubeUnavailable
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate


def test_a_cancellation_that_meets_a_failing_group_ends_the_loop() -> None:
    async def scenario(loop: VirtualLoop, chance: random.Random) -> int:
        clock, passes, inside = VirtualClock(loop, chance), 0, asyncio.Event()

        async def fails_late() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                raise KubeUnavailable("the apiserver is away")

        async def step() -> None:
            nonlocal passes
            passes += 1
            inside.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(fails_late())
                group.create_task(fails_late())

        task = asyncio.create_task(repeat("test", step, clock))
        await inside.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return passes

    assert simulate(1, scenario) == 1


def test_a_failing_group_does_not_end_the_loop() -> None:
    """On CPython 3.11 it leaves the task looking cancelled."""

    async def scenario(loop: VirtualLoop, chance: random.Random) -> int:
        clock, passes, done = VirtualClock(loop, chance), 0, asyncio.Event()

        async def fails() -> None:
            await asyncio.sleep(1)
            raise KubeUnavailable("the apiserver is away")

        async def step() -> None:
            nonlocal passes
            passes += 1
            if passes == 3:
                done.set()
                await asyncio.sleep(3600)
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())

        async with asyncio.timeout(60):
            task = asyncio.create_task(repeat("test", step, clock))
            await done.wait()
            task.cancel()
        return passes

    assert simulate(3, scenario) == 3


def test_what_wakes_it_may_fail_without_ending_it() -> None:
    async def scenario(loop: VirtualLoop, chance: random.Random) -> list[str]:
        clock, said, passes, done = VirtualClock(loop, chance), list[str](), 0, asyncio.Event()

        async def step() -> None:
            nonlocal passes
            passes += 1
            if passes == 3:
                done.set()

        async def wake() -> None:
            raise KubeUnavailable("the watch ended")

        async with asyncio.timeout(60):
            task = asyncio.create_task(repeat("test", step, clock, wake=wake, judged=said.append))
            await done.wait()
            task.cancel()
        return said

    assert any("the watch ended" in sentence for sentence in simulate(2, scenario))
