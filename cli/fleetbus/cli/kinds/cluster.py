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
    return str(seen.live.get("server") or "") if seen.live.get("connected") else ""


def _responsive(seen: Seen) -> str:
    return "yes" if seen.live.get("responsive") else "no"


def _agent(seen: Seen) -> str:
    """That it is connected, and since when; when it was heard; its version."""
    live, parts = seen.live, ["not connected"]
    if live.get("connected"):
        since = f", for {age(live['connectedAt'], seen.now)}" if live.get("connectedAt") else ""
        parts = [f"connected to {live.get('server') or UNKNOWN}{since}"]
    seconds = live.get("lastSeenS")
    if isinstance(seconds, (int, float)):
        parts.append(f"heard {duration(seconds)} ago")
    else:
        parts.append("not heard yet")
    if version := seen.details.get("agentVersion"):
        parts.append(f"version {version}")
    return "; ".join(parts)


def _ready_of(capability: str) -> Read:
    return lambda seen: _ready(view.inner(seen.details, "contents"), capability)


def _ready(contents: view.Json, capability: str) -> str:
    one = view.inner(contents, capability)
    return f"{count(one, 'ready')}/{count(one, 'placed')}"


def _protection(told: view.Json) -> str:
    approvers = view.maps(told.get("approvers"))
    named = ", ".join(str(one.get("name")) for one in approvers)
    waits = counted(count(told, "waiting"), "change")
    return f"{told.get('required')} of {len(approvers)} must approve ({named}); {waits} waiting"


def _describe(output: Output, seen: Seen) -> None:
    details = seen.details
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
    heading(output, "Agent", _agent(seen))
    labels = view.metadata(seen.document).get("labels") or {}
    heading(output, "Labels", " ".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE)
    if protection := view.inner(details, "protection"):
        heading(output, "Protection", _protection(protection))
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
        Column("RESPONSIVE", _responsive, wide=True),
        Column("LABELS", _labels, wide=True),
    ),
    describe=_describe,
)
