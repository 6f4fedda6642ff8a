"""`fleetbus get`: documents as a table, names, JSON or YAML; with `-w` a line a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.columns import Seen, cells, titles
from fleetbus.cli.failure import print_error
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.kinds import columns_of
from fleetbus.cli.output import Output
from fleetbus.cli.references import Wanted, wanted
from fleetbus.cli.table import Cell
from fleetbus.cli.watcher import Watcher
from fleetbus.cli.words import remember
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import NotFound

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.schemas.api import Row

FORMS = ("table", "wide", "name", "json", "yaml")
_CAUSES_FROM = 50
"""From so many rows on, the last line counts by reason."""


@click.command(
    "get", epilog=f"Types: {', '.join(f'{one.plural} ({one.short_names[0]})' for one in KINDS.values())}."
)
@click.argument("what", nargs=-1, metavar="TYPE[,TYPE] [NAME…] | TYPE/NAME…")
@click.option("-o", "--output", "form", type=click.Choice(FORMS), default="table", show_default=True)
@click.option(
    "-l", "--selector", "labels", default="", help="Only those with these labels: `env=prod,tier!=lab`."
)
@click.option("--bundle", default="", help="Only clusters on which this bundle is placed.")
@click.option("-w", "--watch", is_flag=True, help="Go on, with a line a change.")
@click.option("--no-headers", is_flag=True, help="Without the line of titles.")
@pass_invocation
def command(
    invocation: Invocation,
    what: tuple[str, ...],
    form: str,
    labels: str,
    bundle: str,
    watch: bool,
    no_headers: bool,
) -> int:
    """
    \b
    fleetbus get clusters
    fleetbus get bundles -o wide
    fleetbus get bundle/ingress -o yaml
    fleetbus get clusters -l env=prod -w
    """
    asked = wanted(what)
    if watch and len(asked) > 1:
        raise click.UsageError("-w watches one type.")
    if bundle and any(one.kind != "Cluster" for one in asked):
        raise click.UsageError("--bundle goes with clusters.")
    if watch:
        watcher = Watcher(invocation.output, form, columns_of(asked[0].kind, wide=form == "wide"), no_headers)
        invocation.run(lambda fleet: _watch(fleet, asked[0], labels, watcher))
        return exit_codes.DONE
    found = invocation.run(lambda fleet: _read(fleet, asked, labels, bundle))
    show(
        invocation.output,
        found,
        form,
        headers=not no_headers,
        single=_single(asked),
        named=any(one.names for one in asked),
    )
    return _report_missing(invocation.output, asked, found)


def _single(asked: Sequence[Wanted]) -> bool:
    return len(asked) == 1 and len(asked[0].names) == 1


async def _read(
    fleet: Fleet, asked: Sequence[Wanted], labels: str, bundle: str
) -> list[tuple[str, Sequence[Row]]]:
    found: list[tuple[str, Sequence[Row]]] = []
    for one in asked:
        if one.names:
            found.append((one.kind, await _named(fleet, one, labels, bundle)))
            continue
        result = await fleet.list(one.kind, labels=labels, bundle=bundle)
        found.append((one.kind, result.rows))
        if not labels and not bundle:
            remember(one.kind, [view.name_of(row.document) for row in result.rows])
    return found


async def _named(fleet: Fleet, asked: Wanted, labels: str, bundle: str) -> Sequence[Row]:
    """Those that are there, each asked for alone, so that a missing one does not hide the others."""
    rows: list[Row] = []
    for name in asked.names:
        try:
            rows += (await fleet.list(asked.kind, names=(name,), labels=labels, bundle=bundle)).rows
        except NotFound:
            continue
    return rows


def show(
    output: Output,
    found: Sequence[tuple[str, Sequence[Row]]],
    form: str,
    *,
    headers: bool = True,
    single: bool = False,
    named: bool = False,
) -> None:
    """Rows by kind, in one of FORMS, with a hint at the end unless they were `named`.

    `single`: one document was named, so it is written and no list.
    """
    documents = [row.document for _, rows in found for row in rows]
    if form in {"json", "yaml"}:
        if single and len(documents) == 1:
            output.structured(documents[0], form)
        elif not single:
            output.structured({"apiVersion": API_VERSION, "kind": "List", "items": documents}, form)
        return
    if form == "name":
        for document in documents:
            output.line(view.reference(document))
        return
    now = SystemClock().now()
    filled = [(kind, rows) for kind, rows in found if rows]
    for index, (kind, rows) in enumerate(filled):
        if index:
            output.line("")
        columns = columns_of(kind, wide=form == "wide")
        lines = [cells(columns, Seen(row.document, row.live, now)) for row in rows]
        output.table(titles(columns) if headers else [""] * len(columns), lines)
    if named:
        return
    _hint(output, found)


def _hint(output: Output, found: Sequence[tuple[str, Sequence[Row]]]) -> None:
    for kind, rows in found:
        plural = KINDS[kind].plural if kind in KINDS else kind.lower()
        if not rows:
            output.note(f"No {plural} found.")
            continue
        if len(rows) < 2:
            continue
        documents = [row.document for row in rows]
        bad = [one for one in documents if view.condition(one, view.READY).get("status") != "True"]
        text = f"{len(rows) - len(bad)} of {len(rows)} {plural} ready."
        output.note("")
        if not bad:
            output.note(text)
            continue
        if len(rows) >= _CAUSES_FROM:
            text += f" {_causes(bad)}."
        worst = min(bad, key=lambda one: view.condition(one, view.READY).get("status") != "False")
        output.note(f"{text}  Next: ", Cell(f"fleetbus describe {view.reference(worst)}", "command"))


def _causes(documents: Sequence[Mapping[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for document in documents:
        reason = str(view.condition(document, view.READY).get("reason") or "NotObserved")
        counts[reason] = counts.get(reason, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered)


def _report_missing(
    output: Output, asked: Sequence[Wanted], found: Sequence[tuple[str, Sequence[Row]]]
) -> int:
    missing = 0
    for one, (kind, rows) in zip(asked, found, strict=True):
        there = {view.name_of(row.document) for row in rows}
        for name in one.names:
            if name not in there:
                missing += 1
                plural = KINDS[kind].plural
                error = NotFound(f"there is no {kind} `{name}`", remedy=f"fleetbus get {plural}")
                print_error(error, output)
    return exit_codes.FAILED if missing else exit_codes.DONE


async def _watch(fleet: Fleet, asked: Wanted, labels: str, watcher: Watcher) -> None:
    clock = SystemClock()
    async with aclosing(fleet.watch(asked.kind, names=asked.names, labels=labels)) as lists:
        async for result in lists:
            watcher.rows(result.rows, clock.now())
