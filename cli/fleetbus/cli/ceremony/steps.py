"""Steps that are taken in their order, each timed: what one cannot do keeps only those back that need it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fleetbus.runtime.clock import Clock
from fleetbus.schemas.errors import FleetbusError

Side = Literal["Vault", "Bus", "Fleet", "Folder"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done on one side, as often as one likes. `act` says what was done, or raises.

    `doing`: in words, for when it is not done. `needs`: names of steps without which it is not tried.
    """

    side: Side
    name: str
    doing: str
    act: Callable[[], Awaitable[str]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """How a step went. `took_s` is its own time, `at_s` when it ended after the first began.

    `error`: why it is not done; without one and without `text` it was not tried.
    """

    step: Step
    text: str
    took_s: float
    at_s: float
    error: FleetbusError | None = None

    @property
    def done(self) -> bool:
        return bool(self.text)


async def take(
    steps: Sequence[Step], clock: Clock, began_s: float, tell: Callable[[Taken], None]
) -> tuple[Taken, ...]:
    """All of them in order, each told as it ends. Raises nothing of the tree."""
    taken: list[Taken] = []
    for step in steps:
        taken.append(await _take(step, taken, clock, began_s))
        tell(taken[-1])
    return tuple(taken)


async def _take(step: Step, before: Sequence[Taken], clock: Clock, began_s: float) -> Taken:
    missing = [one for one in before if one.step.name in step.needs and not one.done]
    start_s = clock.monotonic_s()
    if missing:
        return Taken(step, "", 0.0, start_s - began_s)
    text, error = "", None
    try:
        text = await step.act()
    except FleetbusError as found:
        error = found
    end_s = clock.monotonic_s()
    return Taken(step, text, end_s - start_s, end_s - began_s, error)
