"""What `describe` says of each kind, between its headline and its conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fleetbus.cli import view
from fleetbus.cli.columns import Seen
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell, cell
from fleetbus.cli.text import NONE, UNKNOWN, age, counted, duration, short_revision

_INDENT = 12
_WORST = 10
"""So many clusters that are not ready are listed."""

Section = Callable[[Output, Seen], None]


def heading(output: Output, title: str, *parts: Cell | str) -> None:
    """A line that starts with its title."""
    output.line(Cell(title.ljust(_INDENT - 1) + " ", "name"), *parts)


def _facts(output: Output, seen: Seen) -> None:
    details, live = seen.details, seen.live
    spec = view.spec(seen.document)
    heading(output, "Identity", f"realm {spec.get('realm', 'main')}, uid {spec.get('uid') or UNKNOWN}")
    if spec.get("owner"):
        heading(output, "Owner", str(spec["owner"]))
    if details.get("kubernetesVersion"):
        memory_gib = int(details.get("memoryBytes") or 0) / 2**30
        parts = [
            str(details["kubernetesVersion"]),
            counted(int(details.get("nodes") or 0), "node"),
            f"{details.get('cpu') or '?'} CPU, {memory_gib:.0f} GiB",
            f"{details.get('provider') or NONE} {details.get('region') or ''}".strip(),
        ]
        heading(output, "Kubernetes", "  ".join(parts))
    seconds = live.get("lastSeenS")
    seen_text = f"seen {duration(seconds)} ago" if isinstance(seconds, (int, float)) else "not seen yet"
    version = details.get("agentVersion")
    heading(output, "Agent", f"{seen_text}{f', version {version}' if version else ''}")
    labels = view.metadata(seen.document).get("labels") or {}
    heading(output, "Labels", " ".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE)
    heading(
        output,
        "Bundles",
        f"{details.get('bundlesReady', 0)} of {details.get('bundles', 0)} ready,"
        f" secrets {details.get('secretsReady', 0)} of {details.get('secrets', 0)}",
    )


def _source(output: Output, seen: Seen) -> None:
    git = view.inner(view.spec(seen.document), "git")
    chosen = " ".join(f"{key} {value}" for key, value in view.inner(git, "ref").items() if value) or "HEAD"
    heading(output, "Repository", f"git {git.get('url', '')}  {chosen}")
    details = seen.details
    if details.get("commit"):
        commit = str(details["commit"])
        shown = commit if output.plain else commit[:7]
        heading(
            output,
            "Revision",
            f'{shown} "{details.get("subject", "")}" by {details.get("author", "")},'
            f" fetched {age(details.get('fetchedAt'), seen.now)} ago",
        )


def _bundle(output: Output, seen: Seen) -> None:
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


def _binding(output: Output, seen: Seen) -> None:
    spec, details = view.spec(seen.document), seen.details
    vault, target = view.inner(spec, "vault"), view.inner(spec, "target")
    place = f"shared/{vault['shared']}" if vault.get("shared") else f"REALM/CLUSTER/{vault.get('path', '')}"
    heading(output, "Vault", f"{place}, version {details.get('version') or NONE}")
    heading(
        output,
        "Secret",
        f"{target.get('namespace')}/{target.get('name')}  type {target.get('type', 'Opaque')}",
    )
    if spec.get("revoked"):
        since = details.get("withdrawnAt")
        heading(
            output,
            "Revoked",
            f"withdrawn in Vault {age(since, seen.now)} ago" if since else "being withdrawn",
        )
    clusters = view.maps(details.get("clusters"))
    output.line("")
    heading(
        output, "Clusters", f"{details.get('synced', 0)} of {len(view.texts(details.get('placed')))} synced"
    )
    rows = [
        [
            cell(one.get("cluster", "")),
            cell(one.get("synced", ""), view.TOKENS.get(str(one.get("synced")), "")),
            cell(one.get("reason", "")),
            cell(one.get("version", "")),
            cell(one.get("message", "")),
        ]
        for one in clusters
    ]
    if rows:
        output.table(["CLUSTER", "SYNCED", "REASON", "VERSION", "MESSAGE"], rows, indent="  ", wrapped=True)


SECTIONS: Final[dict[str, tuple[Section, ...]]] = {
    "Cluster": (_facts,),
    "Source": (_source,),
    "Bundle": (_bundle,),
    "SecretBinding": (_binding,),
}
