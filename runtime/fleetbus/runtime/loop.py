"""The one way in which anything is done again: a step, when it runs next, what wakes it, and back-off.

Only here is a failure answered by trying again, and only here is an error caught that nobody foresaw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described, first_leaf, raised_at
from fleetbus.schemas.errors import FleetbusError, Transient

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

Step = Callable[[], Awaitable[float | None]]
"""One pass; the seconds until the next at the latest, None when only a wake-up brings it."""
Wake = Callable[[], Awaitable[None]]
"""Returns when the next pass is due; called anew after each pass, and cancelled at will."""

_One = TypeVar("_One")
_Other = TypeVar("_Other")

log = structlog.get_logger("loop")


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, before jitter."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16)) if failures else 0.0


async def first(*steps: Awaitable[None]) -> None:
    """Run all of them until one ends; the others are cancelled and waited for. Raises what that one raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if task in done:
            task.result()


async def both(one: Coroutine[Any, Any, _One], other: Coroutine[Any, Any, _Other]) -> tuple[_One, _Other]:
    """Run two at once; when one fails the other is cancelled, and the error is raised as it was."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(one), group.create_task(other)
    except BaseExceptionGroup as raised:
        raise first_leaf(raised) from raised
    return tasks[0].result(), tasks[1].result()


async def until_done(name: str, step: Callable[[], Awaitable[_One]], clock: Clock) -> _One:
    """Try until it goes well and give its result; what trying again cannot help is raised (Terminal, Refused)."""
    failures = 0
    while True:
        try:
            return await step()
        except Transient as error:
            failures += 1
            if failures == 1:
                log.warning("not done yet", step=name, error=type(error).__name__, message=described(error))
            await clock.sleep(clock.jitter(pause_s(failures)))


async def repeat(
    name: str,
    step: Step,
    clock: Clock,
    *,
    wake: Wake | None = None,
    judged: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Run `step` again and again until cancelled: when it said, when `wake` returns, after a failure later.

    `judged` is told after each pass what went wrong, in one sentence; empty when it went well.
    """
    failures = 0
    again_in_s: float | None = 0.0
    while True:
        try:
            again_in_s = await apart(_pass(again_in_s, clock, wake, step))
        except Exception as raised:  # The loop's edge: a mistake of ours stops one pass and nothing else.
            error, again_in_s = first_leaf(raised), 0.0
            failures += 1
            sentence = described(error)
            judged(sentence)
            if failures == 1 or not isinstance(error, FleetbusError):
                note = log.warning if isinstance(error, FleetbusError) else log.error
                at = raised_at(error)
                note("pass failed", loop=name, error=type(error).__name__, message=sentence, raised_at=at)
            await clock.sleep(clock.jitter(pause_s(failures)))
            continue
        if failures:
            log.info("pass succeeded again", loop=name, failures=failures)
        failures = 0
        judged("")


async def apart(work: Awaitable[_One]) -> _One:
    """Do `work` in a task of its own, and end with it when this task is cancelled, whatever came of it.

    On CPython 3.11 a TaskGroup whose child fails leaves its task looking cancelled when it is not, and a
    cancellation that meets such a group comes out as the children's errors. In here the one cannot end a loop
    that shall go on, and the other cannot keep one going that shall end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    raised: Exception | None = None
    try:
        return await asyncio.ensure_future(work)
    except Exception as error:
        raised = error
        raise
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from raised


async def _pass(again_in_s: float | None, clock: Clock, wake: Wake | None, step: Step) -> float | None:
    await _next(again_in_s, clock, wake)
    return await step()


async def _next(again_in_s: float | None, clock: Clock, wake: Wake | None) -> None:
    if again_in_s is not None and again_in_s <= 0:
        await asyncio.sleep(0)
    elif wake is None:
        await clock.sleep(again_in_s if again_in_s is not None else LONGEST_PAUSE_S)
    elif again_in_s is None:
        await wake()
    else:
        await first(wake(), clock.sleep(again_in_s))
