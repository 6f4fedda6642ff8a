"""`fleetbus events`: what happened; with `-f` also what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.durations import since as parse_since
from fleetbus.cli.event_lines import TITLES, WIDTHS, cluster_of, event_line
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.references import one
from fleetbus.cli.table import Cell, layout
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.streams import EVENTS

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_DEFAULT_SINCE = timedelta(hours=1)
_FOLD_WITHIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events are shown."""

    object: str = ""
    cluster: str = ""
    severity: str = ""
    reason: str = ""

    def holds(self, event: dict[str, Any]) -> bool:
        line = event_line(event)
        return (
            (not self.object or line.object == self.object)
            and (not self.cluster or cluster_of(event) == self.cluster)
            and (not self.severity or line.severity == self.severity)
            and (not self.reason or line.reason == self.reason)
        )


@click.command("events")
@click.option("-f", "-w", "--follow", is_flag=True, help="Go on with what happens.")
@click.option("--for", "target", default="", metavar="TYPE/NAME", help="Only events of this document.")
@click.option("--cluster", default="", help="Only events of this cluster.")
@click.option("--type", "pattern", default="*", help="`bundle.*`, `bundle.applied`.")
@click.option("--severity", type=click.Choice(["Normal", "Warning"]), default=None)
@click.option("--reason", default="", help="Only events with this reason.")
@click.option(
    "--since", default="", metavar="1h|TIME|SEQUENCE", help="From when on. [default: 1h; with -f: now]"
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Only the last so many.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text")
@pass_invocation
def command(
    invocation: Invocation,
    follow: bool,
    target: str,
    cluster: str,
    pattern: str,
    severity: str | None,
    reason: str,
    since: str,
    limit: int,
    form: str,
) -> int:
    """
    \b
    fleetbus events -f
    fleetbus events --for bundle/ingress --since 24h
    fleetbus events --type 'bundle.*' --since 4711 -o json
    """
    chosen = Chosen(_subject(target), cluster, severity or "", reason)
    now = SystemClock().now()
    start = parse_since(since, now) if since else (None if follow else now - _DEFAULT_SINCE)
    shown = Lines(invocation.output, form, folding=not follow)
    _note(invocation.output, start)

    async def read(fleet: Fleet) -> None:
        async with aclosing(fleet.events(type=pattern, since=start, follow=follow)) as events:
            if limit and not follow:
                await _last(events, chosen, limit, shown)
                return
            async for event in events:
                if chosen.holds(found := event.as_json()):
                    shown.add(found)

    invocation.run(read)
    shown.end()
    return exit_codes.DONE


def _note(output: Output, start: datetime | int | None) -> None:
    kept = f"kept {EVENTS.max_age_s // 86400} days"
    zone = SystemClock().now().astimezone().tzname()
    if isinstance(start, datetime):
        output.note(f"events since {start.astimezone():%d %b %H:%M} ({kept}); times are {zone}")
    else:
        output.note(f"events are {kept}; times are {zone}")


async def _last(events: AsyncIterator[Any], chosen: Chosen, limit: int, shown: Lines) -> None:
    kept: list[dict[str, Any]] = []
    async for event in events:
        if chosen.holds(found := event.as_json()):
            kept.append(found)
            del kept[:-limit]
    for found in kept:
        shown.add(found)


def _subject(target: str) -> str:
    if not target:
        return ""
    if target.startswith("command/"):
        return target
    kind, name = one(target)
    return f"{kind.lower()}/{name}"


class Lines:
    """Events as lines. `folding`: on a terminal what repeats itself within five seconds becomes one line."""

    def __init__(self, output: Output, form: str, *, folding: bool) -> None:
        self._output = output
        self._form = form
        self._folding = folding
        self._started = False
        self._last: tuple[str, str] | None = None
        self._last_at = SystemClock().now()
        self._folded: list[str] = []

    def add(self, event: dict[str, Any]) -> None:
        if self._form == "json":
            self._output.json_line(event)
            return
        line = event_line(event)
        if self._output.plain:
            self._output.line(line.plain())
            return
        same = self._last == (line.reason, line.object) and line.at - self._last_at <= _FOLD_WITHIN
        if same and self._folding:
            self._folded.append(line.cluster)
            return
        self._unfold()
        self._last, self._last_at = (line.reason, line.object), line.at
        titles = [] if self._started else TITLES
        self._started = True
        columns = self._output.screen.width
        self._output.lines(layout(titles, [line.cells()], columns=columns, widths=WIDTHS))

    def end(self) -> None:
        """What was held back for folding."""
        self._unfold()
        if not self._started and self._form == "text":
            self._output.note("No events.")

    def _unfold(self) -> None:
        if self._folded and self._last:
            where = ", ".join(dict.fromkeys(self._folded))
            text = f"×{len(self._folded)} more of {self._last[0]} in {where}"
            self._output.line(" " * 10, Cell(text, "wait"))
        self._folded = []
