"""Bundles as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetbus.cli import view
from fleetbus.cli.columns import AGE, START, Column, Seen, count, from_spec, number, share
from fleetbus.cli.kinds import Shown
from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import Cell, cell
from fleetbus.cli.text import NONE, age, counted, short_revision

_WORST = 10
"""So many clusters that are not ready are listed."""


def _revision(seen: Seen) -> str:
    return short_revision(str(seen.details.get("revision") or ""))


def _drifted(seen: Seen) -> Cell:
    number = count(seen.details, "drifted")
    return Cell(str(number), "warn" if number else "")


def _describe(output: Output, seen: Seen) -> None:
    spec, details = view.spec(seen.document), seen.details
    revision = str(details.get("revision") or "")
    shown = revision if output.plain else short_revision(revision)
    heading(
        output,
        "Source",
        f"{spec.get('source', '')}  path {spec.get('path', '.')}  {shown or 'no revision yet'}",
    )
    if details.get("artifact"):
        digest = str(details["artifact"])
        cut = digest if output.plain else f"{digest[:12]}…"
        heading(output, "Artifact", f"sha256:{cut}  {counted(int(details.get('objects') or 0), 'object')}")
    placed, excluded = view.texts(details.get("placed")), view.maps(details.get("excluded"))
    heading(
        output, "Placement", f"{len(placed)} of {len(placed) + len(excluded)} clusters  {_clauses(excluded)}"
    )
    held = int(details.get("heldPrunes") or details.get("heldObjects") or 0)
    if held:
        release = f"fleetbus release {view.reference(seen.document)} --prune {held}"
        heading(
            output,
            "Held",
            output.mark("warn"),
            f" {counted(held, 'object')} would be pruned; ",
            Cell(release, "command"),
        )
    _bundle_clusters(output, seen)


def _clauses(excluded: Sequence[Mapping[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for one in excluded:
        counts[str(one.get("clause"))] = counts.get(str(one.get("clause")), 0) + 1
    return ", ".join(f"{count} out by {clause}" for clause, count in counts.items())


def _bundle_clusters(output: Output, seen: Seen) -> None:
    bad = [one for one in view.maps(seen.details.get("clusters")) if one.get("ready") != "True"]
    placed, ready = len(view.texts(seen.details.get("placed"))), int(seen.details.get("ready") or 0)
    output.line("")
    heading(output, "Clusters", f"{ready} ready, {placed - ready} not")
    rows = [
        [
            cell(one.get("cluster", "")),
            cell(one.get("ready", ""), view.TOKENS.get(str(one.get("ready")), "")),
            cell(one.get("reason", "")),
            cell(short_revision(str(one.get("revision") or NONE))),
            cell(f"{one.get('readyObjects', 0)}/{one.get('objects', 0)}"),
            cell(age(one.get("since"), seen.now)),
            cell(one.get("message", "")),
        ]
        for one in _worst_first(bad)[: None if output.plain else _WORST]
    ]
    if rows:
        titles = ["CLUSTER", "READY", "REASON", "REVISION", "OBJECTS", "SINCE", "MESSAGE"]
        output.table(titles, rows, indent="  ", wrapped=True)
    rest = placed - len(rows)
    if rest > 0:
        name = view.name_of(seen.document)
        output.line(f"  {rest} more: ", Cell(f"fleetbus get clusters --bundle {name}", "command"))


def _worst_first(clusters: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(clusters, key=lambda one: (one.get("ready") != "False", str(one.get("cluster"))))


SHOWN = Shown(
    columns=(
        *START,
        Column("REVISION", _revision),
        Column("CLUSTERS", share("ready", "placed")),
        Column("UPDATED", number("updated")),
        Column("DRIFTED", _drifted),
        AGE,
        Column("SOURCE", from_spec("source"), wide=True),
        Column("PATH", from_spec("path"), wide=True),
        Column("OBJECTS", number("objects"), wide=True),
    ),
    describe=_describe,
)
