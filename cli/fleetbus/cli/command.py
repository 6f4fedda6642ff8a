"""`fleetbus command`: orders to one cluster, carried out once by its agent: run, list, cancel."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.cli.text import age
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.commands import PHASE_RUNNING, PHASE_SUCCEEDED, CommandOrder, CommandRow
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.states import FINISHED

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_LOOK_EVERY_S = 0.5
_AFTER_DEADLINE_S = 15.0


@click.group("command")
def command() -> None:
    """
    \b
    fleetbus command run --cluster prod-us --driver job --arg image=registry.example.com/upgrade:2 --wait
    fleetbus command list --cluster prod-us
    """


@command.command("run", short_help="give an order to one cluster")
@click.option("--cluster", required=True, help="The cluster that is told.")
@click.option("--driver", default="job", show_default=True, help="What carries it out.")
@click.option("--arg", "arguments", multiple=True, metavar="KEY=VALUE", help="Argument; VALUE may be YAML.")
@click.option(
    "--args-file", type=click.Path(path_type=Path), help="Arguments as a YAML map; `-` reads the input."
)
@click.option("--deadline", "deadline_s", type=Duration(), default="10m", show_default=True)
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("--wait", "waiting", is_flag=True, help="Wait for the result, with progress.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "name", "json"]), default="text")
@pass_invocation
def run(
    invocation: Invocation,
    cluster: str,
    driver: str,
    arguments: tuple[str, ...],
    args_file: Path | None,
    deadline_s: float,
    reason: str,
    waiting: bool,
    form: str,
) -> int:
    """
    \b
    fleetbus command run --cluster dev-eu --driver job --arg image=busybox --arg 'args=[sleep, "5"]' --wait
    fleetbus command run --cluster dev-eu --args-file upgrade.yaml --deadline 30m
    """
    order = CommandOrder(
        cluster=cluster,
        driver=driver,
        arguments=read_arguments(arguments, args_file),
        deadline_s=deadline_s,
        reason=reason,
    )
    return invocation.run(lambda fleet: _run(fleet, order, waiting, form, invocation.output))


@command.command("list", short_help="open orders, and those that ended lately")
@click.option("--cluster", default="", help="Only those of this cluster.")
@click.option("-o", "--output", "form", type=click.Choice(["table", "name", "json"]), default="table")
@pass_invocation
def list_(invocation: Invocation, cluster: str, form: str) -> int:
    """
    \b
    fleetbus command list
    fleetbus command list --cluster prod-us -o json
    """
    rows = invocation.run(lambda fleet: fleet.list_commands(cluster=cluster))
    _print_rows(invocation.output, rows, form)
    return exit_codes.DONE


@command.command("cancel", short_help="cancel an order")
@click.argument("identifier", metavar="ID")
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def cancel(invocation: Invocation, identifier: str, reason: str) -> int:
    """
    \b
    fleetbus command list
    fleetbus command cancel 01kb5xq7t2m4a9zc --reason INC-4711
    """
    identifier = identifier.removeprefix("command/")
    invocation.run(lambda fleet: fleet.cancel_command(identifier, reason=reason))
    invocation.output.line(f"command/{identifier} cancelled")
    return exit_codes.DONE


def read_arguments(given: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Arguments from a file, and over them those given one by one. Raises UsageError, SettingsInvalid."""
    from fleetbus.cli.yaml_nodes import Trouble, parse

    arguments: dict[str, Any] = {}
    if file is not None:
        for parsed in parse(_text(file)):
            if isinstance(parsed, Trouble) or not isinstance(parsed.value, dict):
                what = parsed.message if isinstance(parsed, Trouble) else "not a map of arguments"
                raise SettingsInvalid(what, where=str(file))
            arguments |= parsed.value
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--arg `{one}`: write KEY=VALUE.")
        found = next(parse(value), None)
        if isinstance(found, Trouble):
            raise click.UsageError(f"--arg {key}: {found.message}.")
        arguments[key] = value if found is None or isinstance(found.value, str) else found.value
    return arguments


def _text(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read()
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("it cannot be read", where=str(file)) from error


async def _run(fleet: Fleet, order: CommandOrder, waiting: bool, form: str, output: Output) -> int:
    row = await fleet.run_command(order)
    if not waiting:
        if form == "text":
            output.line(f"command/{row.id} issued to {row.cluster}")
        else:
            _print_rows(output, [row], form)
        return exit_codes.DONE
    output.say(f"command/{row.id} issued to {row.cluster}")
    try:
        async with asyncio.timeout(order.deadline_s + _AFTER_DEADLINE_S):
            row = await _finished(fleet, row, output)
    except TimeoutError:
        output.line(f"command/{row.id} ", Cell("timed out", "warn"), ": no result by its deadline")
        return exit_codes.TIMED_OUT
    if form != "text":
        _print_rows(output, [row], form)
    else:
        token = "good" if row.phase == PHASE_SUCCEEDED else "bad"
        said = f": {row.message}" if row.message else ""
        output.line(f"command/{row.id} ", Cell(row.phase, token), f" on {row.cluster}{said}")
    return exit_codes.DONE if row.phase == PHASE_SUCCEEDED else exit_codes.FAILED


async def _finished(fleet: Fleet, row: CommandRow, output: Output) -> CommandRow:
    """The command once it has ended; progress goes to standard error as it changes."""
    clock = SystemClock()
    said = (row.phase, row.progress_percent, row.message)
    while row.phase not in FINISHED:
        await clock.sleep(_LOOK_EVERY_S)
        rows = await fleet.list_commands(cluster=row.cluster)
        found = next((one for one in rows if one.id == row.id), None)
        if found is None:
            raise NotFound(f"the command {row.id} is not listed any more", remedy="fleetbus events")
        row = found
        now = (row.phase, row.progress_percent, row.message)
        if now != said and row.phase not in FINISHED:
            output.say(f"{row.phase} {row.progress_percent}% {row.message}".rstrip())
        said = now
    return row


def _print_rows(output: Output, rows: Sequence[CommandRow], form: str) -> None:
    if form == "json":
        output.json([row.as_json() for row in rows])
        return
    if form == "name":
        for row in rows:
            output.line(f"command/{row.id}")
        return
    now = SystemClock().now()
    tokens = {PHASE_SUCCEEDED: "good", PHASE_RUNNING: "busy", "Accepted": "busy", "Cancelled": "wait"}
    lines = [
        [
            Cell(row.id, "name"),
            Cell(row.cluster),
            Cell(row.driver),
            Cell(row.phase, tokens.get(row.phase, "bad" if row.phase in FINISHED else "")),
            Cell(f"{row.progress_percent}%"),
            Cell(row.issued_by.replace(" ", "-") or "-"),
            Cell(age(row.issued_at, now)),
        ]
        for row in rows
    ]
    if lines:
        output.table(["ID", "CLUSTER", "DRIVER", "PHASE", "PROGRESS", "BY", "AGE"], lines)
    else:
        output.note("No commands.")
