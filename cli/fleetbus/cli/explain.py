"""`fleetbus explain`: why a bundle is where it is; what a field means; what an error code means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.explain_field import print_field
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.references import kind_of_word, one_of
from fleetbus.cli.table import Cell
from fleetbus.cli.text import counted
from fleetbus.schemas.catalogue import KINDS, placed_kinds
from fleetbus.schemas.codes import CODES, code_named
from fleetbus.schemas.errors import NotFound

if TYPE_CHECKING:
    from fleetbus.schemas.api import Explained

_SHOWN_NAMES = 6


@click.command("explain")
@click.argument("what", nargs=-1, metavar="TYPE/NAME | TYPE.FIELD | FBnnnn")
@click.option("--cluster", default="", help="Every rule of the placement as it holds for this cluster.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@pass_invocation
def command(invocation: Invocation, what: tuple[str, ...], cluster: str, form: str) -> int:
    """
    \b
    fleetbus explain bundle ingress
    fleetbus explain bundle ingress --cluster prod-us
    fleetbus explain bundle.spec.placement
    fleetbus explain FB1001
    """
    if len(what) == 1 and re.fullmatch(r"(?i)fb[0-9]{4}", what[0]):
        return _code(invocation.output, what[0])
    if len(what) == 1 and "/" not in what[0]:
        return print_field(invocation.output, what[0])
    kind, name = one_of(what)
    if kind not in placed_kinds():
        words = f"{' and '.join(KINDS[one].plural for one in placed_kinds())} have a placement"
        raise click.UsageError(f"{words}; write {kind_of_word(kind).lower()}.spec for the fields.")
    found = invocation.run(lambda fleet: fleet.explain(name, cluster=cluster, kind=kind))
    if form != "text":
        invocation.output.structured(found.as_json(), form)
    elif cluster:
        _one_cluster(invocation.output, found, cluster)
    else:
        _funnel(invocation.output, found)
    return exit_codes.DONE


def _code(output: Output, name: str) -> int:
    found = code_named(name)
    if found is None:
        known = ", ".join(one.code for one in CODES)
        raise NotFound(f"there is no error code {name.upper()}", remedy=f"one of {known}")
    output.line(Cell(f"{found.code}  {found.title}", "name"))
    output.line("")
    output.line(found.meaning)
    output.line(Cell("help", "command"), f": {found.remedy}")
    return exit_codes.DONE


def _funnel(output: Output, found: Explained) -> None:
    """Who was there, who fell out at which rule, who is left."""
    kind, name = found.kind.lower(), found.name
    output.line(
        Cell(f"Placement of {kind} {name}", "name"),
        f", generation {found.generation}: {len(found.placed)} of {counted(found.total, 'cluster')}",
    )
    output.line("")
    digits = max(3, len(str(found.total)))
    rows = [[Cell(f"  {str(found.total).rjust(digits)}"), Cell("clusters in the fleet"), Cell("")]]
    rows += [
        [
            Cell(f" -{str(step.count).rjust(digits)}"),
            Cell(f"{step.clause}  {step.rule}".rstrip()),
            Cell(
                f"{_names(output, step.clusters)}: {step.message}"
                if step.message
                else _names(output, step.clusters)
            ),
        ]
        for step in found.steps
        if step.count
    ]
    rows.append(
        [
            Cell(f" ={str(len(found.placed)).rjust(digits)}", "good"),
            Cell("placed"),
            Cell(_names(output, found.placed)),
        ]
    )
    output.table(["", "", ""], rows, indent="  ", wrapped=True)
    if found.held:
        output.line("")
        output.line(
            Cell("Held", "warn"), f": {_names(output, found.held)} would be lost and are kept until released."
        )


def _names(output: Output, names: tuple[str, ...]) -> str:
    if output.plain or len(names) <= _SHOWN_NAMES:
        return " ".join(names)
    return f"{' '.join(names[:_SHOWN_NAMES])} and {len(names) - _SHOWN_NAMES} more"


def _one_cluster(output: Output, found: Explained, cluster: str) -> None:
    output.line(
        f"{cluster} is {'' if found.is_placed else 'not '}placed{': ' + found.message if found.message else ''}."
    )
    rows = [
        [
            Cell(f"  {(mark := output.mark('good' if check.holds else 'bad')).text}", mark.token),
            Cell(check.clause),
            Cell(check.rule),
            Cell(check.message),
        ]
        for check in found.checks
    ]
    output.table([""] * 4, rows, wrapped=True)
    if found.remedy and not found.is_placed:
        output.line(f"To place it: {found.remedy}")
