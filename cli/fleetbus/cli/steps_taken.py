"""What commands that take steps share: how each step is shown, and how they end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.steps import Taken
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell

_SIDE, _TIME = 8, 6


def report(output: Output) -> Callable[[Taken], None]:
    """Prints one line about each: its side, how long it took, and what was done."""

    def tell(taken: Taken) -> None:
        side = Cell(taken.step.side.ljust(_SIDE), "name")
        if taken.done:
            output.line(side, output.mark("good"), *_done(taken, output))
        elif taken.error is None:
            output.line(
                side, output.mark("wait"), f" {taken.step.doing}: left out, as it needs what is not done"
            )
        else:
            output.line(side, output.mark("bad"), f" {taken.step.doing}: {taken.error.message}")
            for label, text in (("where", taken.error.where), ("help", taken.error.remedy)):
                if text:
                    output.line(" " * _SIDE, f"  {label}: {text}")

    return tell


def again(*command: str, **options: object) -> str:
    """The command line by which it is completed: with the options that were given, quoted for a shell."""
    words = ["fleetbus", *command]
    for name, value in options.items():
        if value:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def concluded(taken: Sequence[Taken], done: str, command: str, output: Output, but: str = "") -> int:
    """The last line, and the exit code: that of the first step that is not done.

    `command` completes it; `but`: when it must not be run.
    """
    error = next((one.error for one in taken if one.error is not None), None)
    if error is None:
        output.line(f"{done}  ", *([Cell(_duration(taken[-1].at_s))] if taken else []))
        return exit_codes.DONE
    output.say("Not all of it is done. Once the cause is gone, run it again: ", Cell(command, "command"))
    if but:
        output.say(but)
    return exit_codes.code_of(error)


def _done(taken: Taken, output: Output) -> tuple[str, ...]:
    if output.plain:
        return (f" {taken.text} took={taken.took_s:.3f}s at={taken.at_s:.3f}s",)
    return (f" {_duration(taken.took_s).rjust(_TIME)}  {taken.text}",)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
