"""`fleetbus apply`: write documents from files; all of them are valid, or none is written."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.table import Cell
from fleetbus.cli.validate import read, refuse
from fleetbus.cli.wait import Target, wait_for
from fleetbus.cli.waiting import Goal
from fleetbus.cli.yaml_source import Checked
from fleetbus.schemas.api import Applied, ApplyResult


@click.command("apply")
@click.option("-f", "--filename", "files", multiple=True, help="File, folder, or `-` for standard input.")
@click.option("-R", "--recursive", is_flag=True, help="Folders with what is below them.")
@click.option(
    "--dry-run",
    type=click.Choice(["client", "server"]),
    help="client: check offline; server: let the controller check. Nothing is written.",
)
@click.option("--wait", "waiting", is_flag=True, help="Wait until every document is Ready.")
@click.option("--timeout", "timeout_s", type=Duration(), default="5m", show_default=True, help="For --wait.")
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("--error-unchanged", is_flag=True, help="End with 3 when nothing changed.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "name", "json"]), default="text")
@pass_invocation
def command(
    invocation: Invocation,
    files: tuple[str, ...],
    recursive: bool,
    dry_run: str | None,
    waiting: bool,
    timeout_s: float,
    reason: str,
    error_unchanged: bool,
    form: str,
) -> int:
    """
    \b
    fleetbus apply -f fleet/ --wait
    fleetbus apply -f bundle.yaml --dry-run=server
    """
    checked = read(files, recursive=recursive)
    if checked.diagnostics:
        return refuse(invocation.output, checked)
    if dry_run == "client":
        for one in checked.documents:
            invocation.output.line(f"{one.kind.lower()}/{one.name} valid (client dry run)")
        return exit_codes.DONE
    result = _apply(invocation, checked, server_dry_run=dry_run == "server", reason=reason)
    applied = result.applied
    for warning in result.warnings:
        invocation.output.say(Cell("warning", "warn"), f": {warning}")
    _print(invocation, applied, form, " (server dry run)" if dry_run else "")
    if waiting and not dry_run:
        targets: list[Target] = [
            (one.kind, one.name, Goal(generation=one.generation)) for one in applied if one.kind != "Cluster"
        ]
        return invocation.run(lambda fleet: wait_for(fleet, targets, timeout_s, invocation.output))
    unchanged = all(one.verb == "unchanged" for one in applied)
    return exit_codes.UNCHANGED if error_unchanged and unchanged else exit_codes.DONE


def _apply(invocation: Invocation, checked: Checked, *, server_dry_run: bool, reason: str) -> ApplyResult:
    documents = [one.document for one in checked.documents]
    return invocation.run(lambda fleet: fleet.apply(documents, dry_run=server_dry_run, reason=reason))


def _print(invocation: Invocation, applied: Sequence[Applied], form: str, suffix: str) -> None:
    if form == "json":
        invocation.output.json([one.as_json() for one in applied])
        return
    for one in applied:
        verb = "" if form == "name" else f" {one.verb}{suffix}"
        invocation.output.line(f"{one.kind.lower()}/{one.name}{verb}")
