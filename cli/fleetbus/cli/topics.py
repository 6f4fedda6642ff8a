"""`fleetbus help`: topics that belong to no single command."""

from __future__ import annotations

from typing import Final

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell

ENVIRONMENT: Final[tuple[tuple[str, str], ...]] = (
    ("FLEETBUS_CONTEXT", "context to use, as --context does"),
    ("FLEETBUS_CONFIG", "file of contexts; default: fleetbus/config.yaml below XDG_CONFIG_HOME"),
    ("FLEETBUS_FLEET_DIR", "folder that `fleetbus init` made, as --fleet-dir gives it"),
    ("FLEETBUS_FORCE_TTY", "number of columns; writes as to a terminal of that width"),
    ("HTTPS_PROXY", "HTTP proxy on the way to the bus, unless the context's `proxy` says otherwise"),
    ("NO_PROXY", "servers that are reached without it: names with all below them, addresses, networks, `*`"),
    ("NO_COLOR", "no colours, whatever its value"),
    ("TERM", "`dumb`: words instead of symbols, nothing redrawn"),
    ("XDG_CONFIG_HOME", "where contexts are; default ~/.config"),
    ("XDG_CACHE_HOME", "where names for completion are; default ~/.cache"),
    ("XDG_STATE_HOME", "where details of unforeseen failures are; default ~/.local/state"),
)

_FORMATTING: Final = (
    "-o table    columns for people; in a pipe the same columns, nothing cut, no colours",
    "-o wide     more columns",
    "-o name     TYPE/NAME, one a line",
    "-o json     one document, or a List of several; with -w or events: one JSON text a line",
    "-o yaml     the same as YAML",
    "-o github   (validate) annotations for GitHub's workflows",
    "",
    "Results go to standard output; hints, progress and errors to standard error.",
    "Times are local on a terminal and RFC 3339 in UTC in a pipe.",
)

_TOPICS: Final = ("exit-codes", "environment", "formatting")


@click.command("help")
@click.argument("topic", required=False, metavar="[exit-codes|environment|formatting|COMMAND]")
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> int:
    """
    \b
    fleetbus help exit-codes
    fleetbus help get
    """
    output = ctx.ensure_object(Invocation).output
    if topic == "exit-codes":
        output.table(
            ["CODE", "MEANING"], [[Cell(str(code)), Cell(text)] for code, text in exit_codes.MEANINGS]
        )
    elif topic == "environment":
        output.table(["VARIABLE", "MEANING"], [[Cell(name), Cell(text)] for name, text in ENVIRONMENT])
    elif topic == "formatting":
        for line in _FORMATTING:
            output.line(line)
    else:
        _command_help(ctx, output, topic)
    return exit_codes.DONE


def _command_help(ctx: click.Context, output: Output, topic: str | None) -> None:
    parent = ctx.parent
    assert parent is not None
    if topic is None:
        click.echo(parent.get_help())
        return
    group = parent.command
    found = group.get_command(parent, topic) if isinstance(group, click.Group) else None
    if found is None:
        raise click.UsageError(f"There is no topic `{topic}`; topics: {', '.join(_TOPICS)}, or a command.")
    with click.Context(found, info_name=topic, parent=parent) as inner:
        click.echo(found.get_help(inner))
