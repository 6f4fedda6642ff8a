"""`fleetbus describe`: one document; what is wrong, where it comes from, where it goes, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.columns import Seen
from fleetbus.cli.event_lines import event_line
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.kinds import shown
from fleetbus.cli.output import Output, heading
from fleetbus.cli.references import one_of
from fleetbus.cli.table import Cell
from fleetbus.cli.text import age, duration, parse_time
from fleetbus.runtime.clock import SystemClock

if TYPE_CHECKING:
    from fleetbus.schemas.api import Described

_EVENTS = 3


@click.command("describe")
@click.argument("what", nargs=-1, metavar="TYPE/NAME")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@pass_invocation
def command(invocation: Invocation, what: tuple[str, ...], form: str) -> int:
    """
    \b
    fleetbus describe bundle/ingress
    fleetbus describe cluster prod-us
    """
    kind, name = one_of(what)
    found = invocation.run(lambda fleet: fleet.describe(kind, name))
    if form != "text":
        invocation.output.structured(found.document, form)
    else:
        describe(invocation.output, found)
    return exit_codes.DONE


def describe(output: Output, found: Described) -> None:
    """Write what an operator wants to know of a document, what is wrong first."""
    seen = Seen(found.document, found.live, SystemClock().now())
    document = seen.document
    created = parse_time(view.metadata(document).get("createdAt"))
    old = f", {duration((seen.now - created).total_seconds())} old" if created else ""
    counts = f"generation {view.generation(document)}, observed {view.observed_generation(document)}{old}"
    heading(output, view.kind_of(document), Cell(view.name_of(document).ljust(44), "name"), f"  {counts}")
    _ready(output, seen)
    _going(output, found)
    shown(view.kind_of(document)).describe(output, seen)
    _conditions(output, seen)
    _events(output, found, view.reference(document))


def _ready(output: Output, seen: Seen) -> None:
    ready = view.condition(seen.document, view.READY)
    token = view.token(ready)
    since = ready.get("lastTransitionAt")
    parts = [
        f" {ready.get('status', 'Unknown')}  {ready.get('reason', 'NotObserved')}",
        f"  {ready['message']}" if ready.get("message") else "",
        f", since {age(since, seen.now)}" if since else "",
    ]
    heading(output, "Ready", output.mark(token), Cell("".join(parts), token))


def _going(output: Output, found: Described) -> None:
    deleting = found.live.get("deleting")
    if not isinstance(deleting, Mapping):
        return
    left = deleting.get("left")
    if not isinstance(left, Mapping):
        heading(output, "Deleting", "it goes when every placed cluster's receipt is in")
    elif left.get("stays"):
        heading(output, "Left", "it stays until it joins again, or until fleetbus cluster retire --purge")
    else:
        heading(output, "Leaving", "its document, mailboxes and states go")


def _conditions(output: Output, seen: Seen) -> None:
    found = view.conditions(seen.document)
    if not found:
        return
    output.line("")
    output.line(Cell("Conditions", "name"))
    rows = [
        [
            Cell(str(one.get("type", ""))),
            Cell(str(one.get("status", "")), view.token(one)),
            Cell(str(one.get("reason", ""))),
            Cell(age(one.get("lastTransitionAt"), seen.now)),
            Cell(str(one.get("message", ""))),
        ]
        for one in found
    ]
    output.table(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], rows, indent="  ", wrapped=True)


def _events(output: Output, found: Described, reference: str) -> None:
    if not found.events:
        return
    last = [event_line(event) for event in found.events[-_EVENTS:]]
    output.line("")
    heading(
        output, "Events", f"last {len(last)} (", Cell(f"fleetbus events --for {reference}", "command"), ")"
    )
    if output.plain:
        for one in last:
            output.line(f"  {one.plain()}")
        return
    rows = [[cell for index, cell in enumerate(one.cells()) if index != 4] for one in last]
    output.table([""] * 5, rows, indent="  ", wrapped=True)
