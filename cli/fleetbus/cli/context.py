"""`fleetbus context`: which fleet is spoken to."""

from __future__ import annotations

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.table import Cell


@click.group("context")
def command() -> None:
    """
    \b
    fleetbus context list
    fleetbus context use prod
    """


@command.command("list", short_help="all contexts")
@click.option("-o", "--output", "form", type=click.Choice(["table", "name", "json"]), default="table")
@pass_invocation
def list_(invocation: Invocation, form: str) -> int:
    """
    \b
    fleetbus context list
    fleetbus context list -o name
    """
    from fleetbus.cli.contexts import names

    found, current = names()
    output = invocation.output
    if form == "json":
        output.json([{"name": name, "current": name == current} for name in found])
    elif form == "name":
        for name in found:
            output.line(name)
    elif found:
        rows = [[Cell("*" if name == current else "", "good"), Cell(name, "name")] for name in found]
        output.table(["CURRENT", "NAME"], rows)
    else:
        output.note("No contexts. `fleetbus init` and `fleetbus local env` make one.")
    return exit_codes.DONE


@command.command("use", short_help="make a context the current one")
@click.argument("name")
@pass_invocation
def use_(invocation: Invocation, name: str) -> int:
    """
    \b
    fleetbus context use prod
    fleetbus --context staging get clusters
    """
    from fleetbus.cli.contexts import use

    invocation.output.line(f"context/{use(name)} is current")
    return exit_codes.DONE
