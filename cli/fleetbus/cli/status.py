"""`fleetbus status`: the fleet in five lines, as `git status`: what is wrong, what moves, what waits, what next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import Cell
from fleetbus.cli.text import counted

if TYPE_CHECKING:
    from fleetbus.schemas.api import Overview, Problem


@click.command("status")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@pass_invocation
def command(invocation: Invocation, form: str) -> int:
    """
    \b
    fleetbus status
    fleetbus status -o json
    """
    found = invocation.run(lambda fleet: fleet.overview())
    if form != "text":
        invocation.output.structured(found.as_json(), form)
    else:
        status(invocation.output, found)
    return exit_codes.DONE


def status(output: Output, found: Overview) -> None:
    """Five lines: fleet, what there is, what is wrong, what waits for a person, what to type next."""
    version = f", controller {found.controller}" if found.controller else ""
    heading(output, "Fleet", f"{found.fleet}{version}, epoch {found.epoch}")
    counts = ", ".join(
        f"{one.ready}/{one.count} {one.kind.lower() if one.count == 1 else one.kind.lower() + 's'}"
        for one in found.tallies
        if one.count
    )
    heading(output, "Ready", f"{counts or 'nothing yet'}{_moving(found)}")
    wrong = [one for one in found.problems if one.status == "False"]
    if wrong:
        heading(output, "Wrong", *_first(output, wrong, "bad"))
    elif found.away:
        heading(output, "Wrong", output.mark("away"), f" away: {_names(output, found.away)}")
    else:
        heading(output, "Wrong", output.mark("good"), " nothing")
    if found.held:
        heading(output, "Waits", *_first(output, found.held, "warn"))
    else:
        heading(output, "Waits", "nothing waits for you")
    heading(output, "Next", Cell(_next(found, wrong), "command"))


def _moving(found: Overview) -> str:
    going = sum(1 for one in found.problems if one.status == "Unknown")
    commands = f", {counted(found.commands_open, 'command')} open" if found.commands_open else ""
    return f"{f', {going} not settled' if going else ''}{commands}"


def _first(output: Output, problems: list[Problem] | tuple[Problem, ...], token: str) -> list[Cell | str]:
    first = problems[0]
    more = f"  and {len(problems) - 1} more" if len(problems) > 1 else ""
    message = f": {first.message}" if first.message else ""
    return [output.mark(token), f" {first.object} ", Cell(first.reason, token), f"{message}{more}"]


def _names(output: Output, names: tuple[str, ...]) -> str:
    if output.plain or len(names) <= 5:
        return ", ".join(names)
    return f"{', '.join(names[:5])} and {len(names) - 5} more"


def _next(found: Overview, wrong: list[Problem]) -> str:
    if wrong:
        return f"fleetbus describe {wrong[0].object}"
    if found.held:
        return f"fleetbus describe {found.held[0].object}"
    if found.away:
        return f"fleetbus describe cluster/{found.away[0]}"
    if not any(one.count for one in found.tallies):
        return "fleetbus cluster join NAME --help"
    return "fleetbus events -f"
