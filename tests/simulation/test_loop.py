"""The virtual loop itself: it replays exactly, jumps over waiting, and refuses what would break replay."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.simulation.loop import Deadlock, VirtualClock, VirtualLoop, simulate


async def _story(loop: VirtualLoop, chance: random.Random) -> list[tuple[str, float]]:
    clock = VirtualClock(loop, chance)
    told: list[tuple[str, float]] = []

    async def speak(name: str) -> None:
        for _ in range(5):
            await clock.sleep(clock.jitter(60.0))
            told.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as group:
        for name in "abcdef":
            group.create_task(speak(name))
    return told


def test_a_seed_replays_exactly() -> None:
    assert simulate(7, _story) == simulate(7, _story)


def test_seeds_differ_in_order() -> None:
    assert len({tuple(name for name, _ in simulate(seed, _story)) for seed in range(8)}) > 1


def test_hours_pass_at_once() -> None:
    async def wait(loop: VirtualLoop, chance: random.Random) -> float:
        await asyncio.sleep(3000.0)
        return loop.time()

    assert simulate(1, wait) == pytest.approx(3000.0)


def test_idle_for_ever_is_an_error() -> None:
    async def stuck(loop: VirtualLoop, chance: random.Random) -> None:
        await loop.create_future()

    with pytest.raises((Deadlock, TimeoutError)):
        simulate(1, stuck)


def test_threads_are_refused() -> None:
    async def thread(loop: VirtualLoop, chance: random.Random) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(AssertionError, match="no threads"):
        simulate(1, thread)


def test_private_names_that_the_loop_leans_on_exist() -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        for name in ("_ready", "_scheduled", "_stopping", "_timer_cancelled_count", "_run_once"):
            assert hasattr(loop, name)
    finally:
        loop.close()
