"""`fleetbus sync`: look at a source again now, and say what followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.references import one_of
from fleetbus.cli.table import Cell
from fleetbus.cli.text import counted, short_revision
from fleetbus.cli.wait import Target, wait_for
from fleetbus.cli.waiting import Goal
from fleetbus.schemas.errors import NotFound

if TYPE_CHECKING:
    from fleetbus.client import Fleet


@click.command("sync")
@click.argument("what", nargs=-1, required=True, metavar="source/NAME")
@click.option("--wait", "waiting", is_flag=True, help="Wait until the bundles of the source are Ready.")
@click.option("--timeout", "timeout_s", type=Duration(), default="1m", show_default=True)
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def command(
    invocation: Invocation, what: tuple[str, ...], waiting: bool, timeout_s: float, reason: str
) -> int:
    """
    \b
    fleetbus sync source/platform
    fleetbus sync source/platform --wait
    """
    kind, name = one_of(what)
    if kind != "Source":
        raise click.UsageError("A source is synced: fleetbus sync source/NAME.")
    return invocation.run(lambda fleet: _sync(fleet, name, waiting, timeout_s, reason, invocation.output))


async def _sync(fleet: Fleet, name: str, waiting: bool, timeout_s: float, reason: str, output: Output) -> int:
    """The controller answers once it has looked, and its bundles have followed."""
    before = await _source(fleet, name)
    await fleet.sync("Source", name, reason=reason)
    after = await _source(fleet, name)
    fetched = view.condition(after, "Fetched")
    if fetched.get("status") == "False":
        reason = f"{fetched.get('reason')}: {fetched.get('message', '')}"
        output.line(f"source/{name} ", Cell("failed", "bad"), f": {reason}")
        return exit_codes.FAILED
    _print_source(output, name, before, after)
    bundles = [
        row.document
        for row in (await fleet.list("Bundle")).rows
        if view.spec(row.document).get("source") == name
    ]
    failed = [document for document in bundles if not _print_bundle(output, document)]
    if failed:
        return exit_codes.FAILED
    if not waiting or not bundles:
        return exit_codes.DONE
    targets: list[Target] = [("Bundle", view.name_of(document), Goal()) for document in bundles]
    return await wait_for(fleet, targets, timeout_s, output)


async def _source(fleet: Fleet, name: str) -> Mapping[str, Any]:
    found = await fleet.list("Source", names=(name,))
    if not found.rows:
        raise NotFound(f"there is no Source `{name}`", remedy="fleetbus get sources")
    return found.rows[0].document


def _commit(document: Mapping[str, Any]) -> str:
    return str(view.details(document).get("commit") or "")


def _print_source(output: Output, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    seen = view.details(after)
    commit, old = _commit(after), _commit(before)
    shown = commit if output.plain else commit[:7]
    if commit == old:
        output.line(f"source/{name} unchanged at {shown}")
        return
    was = f", was {old if output.plain else old[:7]}" if old else ""
    output.line(
        f"source/{name} ",
        Cell("fetched", "good"),
        f' {shown} "{seen.get("subject", "")}" by {seen.get("author", "")}{was}',
    )


def _print_bundle(output: Output, document: Mapping[str, Any]) -> bool:
    """Which revision the bundle is at; False when it could not take the new one up."""
    name, seen = view.name_of(document), view.details(document)
    for type_ in ("SourceReady", "Rendered"):
        found = view.condition(document, type_)
        if found.get("status") == "False":
            reason = f"{found.get('reason')}: {found.get('message', '')}"
            output.line(f"bundle/{name} ", Cell("failed", "bad"), f": {reason}")
            return False
    revision = str(seen.get("revision") or "")
    placed = counted(len(view.texts(seen.get("placed"))), "cluster")
    shown = revision if output.plain else short_revision(revision)
    output.line(f"bundle/{name} at {shown or 'no revision yet'} for {placed}")
    return True
