"""`fleetbus version`: of the command, and of the controller when one answers."""

from __future__ import annotations

from importlib.metadata import version as version_of

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import FleetbusError


@click.command("version")
@click.option("--client", "client_only", is_flag=True, help="Ask nobody.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text")
@pass_invocation
def command(invocation: Invocation, client_only: bool, form: str) -> int:
    """
    \b
    fleetbus version
    fleetbus version --client -o json
    """
    output = invocation.output
    own = version_of("fleetbus")
    controller = "" if client_only else _controller(invocation)
    if form == "json":
        output.json({"fleetbus": own, "apiVersion": API_VERSION, "controller": controller or None})
        return exit_codes.DONE
    output.line(f"fleetbus    {own}  {API_VERSION}")
    if not client_only:
        output.line(f"controller  {controller or 'not reached'}")
    return exit_codes.DONE


def _controller(invocation: Invocation) -> str:
    try:
        return invocation.run(lambda fleet: fleet.overview()).controller
    except FleetbusError:
        return ""
