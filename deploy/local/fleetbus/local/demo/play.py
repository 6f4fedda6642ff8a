"""The steps in their order, and the verdict at the end: each step's events, each exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fleetbus.local.demo import commands, configuration, faults, secrets
from fleetbus.local.demo.scene import Scene
from fleetbus.runtime.clock import SystemClock

Step = tuple[str, Callable[[Scene], Awaitable[None]]]

STEPS: tuple[Step, ...] = (
    ("Clusters register", configuration.register),
    ("A bundle lands on the clusters whose labels match", configuration.land),
    ("A commit changes them", configuration.change),
    ("Somebody edits an object by hand, and it is put back", configuration.drift),
    ("A file that is removed from the repository is pruned", configuration.prune),
    ("An emptied repository is held, not pruned", configuration.emptied),
    ("A secret appears in the clusters that it is bound to, and in no other", secrets.appear),
    ("A new version of the secret follows", secrets.rotate),
    ("A revocation takes the secret away", secrets.revoke),
    ("An upgrade command goes to one cluster", commands.upgrade),
    ("The controller and an agent are killed with -9, and nothing is lost", faults.killed),
)
_EVENTS_WITHIN_S = 15.0
_EVENTS = "Every step was seen as events, each exactly once"


async def play(scene: Scene) -> None:
    """All steps; what failed is in the stage's failures, and the next step is played all the same."""
    for number, (title, act) in enumerate(STEPS, 1):
        scene.step = number
        # A cluster registers before the first step is announced.
        scene.began[number] = SystemClock().now() if number > 1 else scene.fleet.started_at
        async with scene.stage.step(number, title):
            await act(scene)
            await _see_all(scene, number)
    number = len(STEPS) + 1
    scene.began[number] = SystemClock().now()
    async with scene.stage.step(number, _EVENTS):
        await _judge_events(scene)


async def _see_all(scene: Scene, number: int) -> None:
    """Wait for the step's events: what comes later would be counted to the next step."""
    clock = SystemClock()
    since = scene.began[number]
    end = clock.monotonic_s() + _EVENTS_WITHIN_S
    while clock.monotonic_s() < end:
        if all(scene.witness.count(expected, since) for expected in scene.expected.get(number, ())):
            return
        await clock.sleep(0.02)


async def _judge_events(scene: Scene) -> None:
    for number in range(1, len(STEPS) + 1):
        if number in scene.expected:
            names = sorted({one.type for one in scene.expected[number]})
            await scene.stage.until(
                f"step {number}: {', '.join(names)}",
                partial(_seen_once, scene, number),
                timeout_s=30,
                log=scene.fleet.controller.log,
            )
    await scene.stage.until(
        f"{len(scene.witness.events)} events in all, none doubled, none missing",
        lambda: _whole(scene),
        timeout_s=20,
    )


async def _seen_once(scene: Scene, number: int) -> tuple[bool, str]:
    since, until = scene.began[number], scene.began[number + 1]
    wrong = {
        str(expected): count
        for expected in scene.expected[number]
        if (count := scene.witness.count(expected, since, until)) != 1
    }
    return not wrong, "; ".join(f"{expected} {count} times" for expected, count in wrong.items())


async def _whole(scene: Scene) -> tuple[bool, str]:
    doubled, missing = scene.witness.doubled(), scene.witness.missing()
    return (
        not doubled and not missing,
        f"doubled: {', '.join(doubled) or 'none'}; {', '.join(missing) or 'none missing'}",
    )
