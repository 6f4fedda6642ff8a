"""Clusters as they are shown."""

from __future__ import annotations

from fleetbus.cli import view
from fleetbus.cli.columns import AGE, START, Column, Read, Seen, count, detail
from fleetbus.cli.kinds import Shown
from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE, UNKNOWN, age, counted, duration, parse_time

_LATE_S = 30.0
"""Two heartbeats: later than that is shown in yellow."""


def _last_seen(seen: Seen) -> Cell | str:
    """From the controller's own measure, so that two clocks do not have to agree."""
    seconds = seen.live.get("lastSeenS")
    if isinstance(seconds, (int, float)):
        return Cell(duration(seconds), "warn" if seconds > _LATE_S else "")
    at = parse_time(seen.live.get("lastSeenAt"))
    if at is None:
        return UNKNOWN
    return Cell(age(seen.live.get("lastSeenAt"), seen.now))


def _nodes(seen: Seen) -> str:
    return str(seen.details["nodes"]) if seen.details.get("kubernetesVersion") else UNKNOWN


def _labels(seen: Seen) -> str:
    labels = view.metadata(seen.document).get("labels")
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else ""


def _connected_to(seen: Seen) -> str:
    return str(seen.live.get("server") or "")


def _ready_of(capability: str) -> Read:
    return lambda seen: _ready(view.inner(seen.details, "contents"), capability)


def _ready(contents: view.Json, capability: str) -> str:
    one = view.inner(contents, capability)
    return f"{count(one, 'ready')}/{count(one, 'placed')}"


def _describe(output: Output, seen: Seen) -> None:
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
    contents = view.inner(details, "contents")
    ready = [f"{_ready(contents, name).replace('/', ' of ')} {name}" for name in sorted(contents)]
    heading(output, "Contents", f"{', '.join(ready)} ready" if ready else NONE)


SHOWN = Shown(
    columns=(
        *START,
        Column("VERSION", detail("kubernetesVersion")),
        Column("NODES", _nodes),
        Column("BUNDLES", _ready_of("bundles")),
        Column("SECRETS", _ready_of("secrets")),
        Column("LAST-SEEN", _last_seen),
        AGE,
        Column("PROVIDER", detail("provider"), wide=True),
        Column("REGION", detail("region"), wide=True),
        Column("AGENT", detail("agentVersion"), wide=True),
        Column("CONNECTED-TO", _connected_to, wide=True),
        Column("LABELS", _labels, wide=True),
    ),
    describe=_describe,
)
