"""What commands that take steps share: the way to the fleet, how each step is shown, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.steps import Taken
from fleetbus.cli.invocation import Invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_SIDE, _TIME = 8, 6


@asynccontextmanager
async def fleet_of(invocation: Invocation) -> AsyncIterator[Fleet]:
    """That of the context; what is wrong with the context is raised when it is entered."""
    async with invocation.connect(invocation.context) as fleet:
        yield fleet


def report(output: Output) -> Callable[[Taken], None]:
    """Prints one line about each: its side, how long it took, and what was done."""

    def tell(taken: Taken) -> None:
        side = Cell(taken.step.side.ljust(_SIDE), "name")
        if taken.done:
            output.line(side, output.mark("good"), *_done(taken, output))
        elif taken.error is None:
            output.line(
                side, output.mark("wait"), f" {taken.step.name}: left out, as it needs what is not done"
            )
        else:
            output.line(side, output.mark("bad"), f" {taken.step.name}: {taken.error.message}")
            for label, text in (("where", taken.error.where), ("help", taken.error.remedy)):
                if text:
                    output.line(" " * _SIDE, f"  {label}: {text}")

    return tell


def concluded(taken: Sequence[Taken], done: str, again: str, output: Output) -> int:
    """The last line, and the exit code: that of the first step that is not done."""
    error = next((one.error for one in taken if one.error is not None), None)
    if error is None:
        output.line(f"{done}  ", *([Cell(_duration(taken[-1].at_s))] if taken else []))
        return exit_codes.DONE
    output.say("Not all of it is done. Once the cause is gone, run it again: ", Cell(again, "command"))
    return exit_codes.code_of(error)


def _done(taken: Taken, output: Output) -> tuple[str, ...]:
    if output.plain:
        return (f" {taken.text} took={taken.took_s:.3f}s at={taken.at_s:.3f}s",)
    return (f" {_duration(taken.took_s).rjust(_TIME)}  {taken.text}",)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
