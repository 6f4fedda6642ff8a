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
from fleetbus.schemas.codes import CODES, code_named
from fleetbus.schemas.errors import NotFound

if TYPE_CHECKING:
    from fleetbus.schemas.api import Explained

_SHOWN_NAMES = 6
_PLACED_KINDS = ("Bundle", "SecretBinding")


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
    if kind not in _PLACED_KINDS:
        words = "bundles and secretbindings have a placement"
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
        f", generation {found.generation}: {len(found.placed)} of {counted(found.clusters, 'cluster')}",
    )
    output.line("")
    out: dict[str, list[tuple[str, str]]] = {}
    for one in found.excluded:
        out.setdefault(one.clause, []).append((one.cluster, one.message))
    digits = max(3, len(str(found.clusters)))
    rows = [[Cell(f"  {str(found.clusters).rjust(digits)}"), Cell("clusters in the fleet"), Cell("")]]
    rows += [
        [
            Cell(f" -{str(len(clusters)).rjust(digits)}"),
            Cell(clause),
            Cell(_who(output, clusters)),
        ]
        for clause, clusters in out.items()
    ]
    rows.append(
        [
            Cell(f" ={str(len(found.placed)).rjust(digits)}", "good"),
            Cell("placed"),
            Cell(_names(output, found.placed)),
        ]
    )
    output.table(["", "", ""], rows, indent="  ", wrapped=True)


def _who(output: Output, clusters: list[tuple[str, str]]) -> str:
    messages = {message for _, message in clusters if message}
    names = _names(output, [name for name, _ in clusters])
    return f"{names}: {messages.pop()}" if len(messages) == 1 else names


def _names(output: Output, names: tuple[str, ...] | list[str]) -> str:
    if output.plain or len(names) <= _SHOWN_NAMES:
        return " ".join(names)
    return f"{' '.join(names[:_SHOWN_NAMES])} and {len(names) - _SHOWN_NAMES} more"


def _one_cluster(output: Output, found: Explained, cluster: str) -> None:
    placed = cluster in found.placed
    output.line(f"{cluster} is {'' if placed else 'not '}placed.")
    rows = [
        [Cell("  "), output.mark("good" if one.holds else "bad"), Cell(one.clause), Cell(one.message)]
        for one in found.clauses
    ]
    if not rows:
        rows = [
            [Cell("  "), output.mark("bad"), Cell(one.clause), Cell(one.message)]
            for one in found.excluded
            if one.cluster == cluster
        ]
    output.table([""] * 4, [[Cell(f"  {row[1].text}", row[1].token), *row[2:]] for row in rows], wrapped=True)
