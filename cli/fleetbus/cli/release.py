"""`fleetbus release`: let a held prune go, by typing how many objects it takes."""

from __future__ import annotations

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.references import one_of


@click.command("release")
@click.argument("what", nargs=-1, required=True, metavar="TYPE/NAME")
@click.option(
    "--prune", type=click.IntRange(min=1), required=True, help="The number of objects that are held."
)
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def command(invocation: Invocation, what: tuple[str, ...], prune: int, reason: str) -> int:
    """
    \b
    fleetbus describe bundle/ingress
    fleetbus release bundle/ingress --prune 38

    The number must be that of the objects that are held: whoever lets them go has seen how many.
    """
    kind, name = one_of(what)
    answer = invocation.run(lambda fleet: fleet.release(kind, name, prune=prune, reason=reason))
    invocation.output.line(f"{kind.lower()}/{name} released{f': {answer.message}' if answer.message else ''}")
    return exit_codes.DONE
