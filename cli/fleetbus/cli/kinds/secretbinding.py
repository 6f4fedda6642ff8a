"""Secret bindings as they are shown."""

from __future__ import annotations

from fleetbus.cli import view
from fleetbus.cli.columns import AGE, START, Column, Seen, share
from fleetbus.cli.kinds import Shown
from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import cell
from fleetbus.cli.text import NONE, age


def _vault(seen: Seen) -> str:
    place = view.inner(view.spec(seen.document), "vault")
    return f"shared/{place['shared']}" if place.get("shared") else str(place.get("path") or "")


def _target(seen: Seen) -> str:
    target = view.inner(view.spec(seen.document), "target")
    return f"{target['namespace']}/{target['name']}" if {"namespace", "name"} <= target.keys() else ""


def _version(seen: Seen) -> str:
    return str(seen.details.get("version") or "")


def _synced(seen: Seen) -> str:
    """How long all clusters have been in step; nothing while they are not."""
    synced = view.condition(seen.document, "Synced")
    return age(synced.get("lastTransitionAt"), seen.now) if synced.get("status") == "True" else ""


def _describe(output: Output, seen: Seen) -> None:
    spec, details = view.spec(seen.document), seen.details
    vault, target = view.inner(spec, "vault"), view.inner(spec, "target")
    place = f"shared/{vault['shared']}" if vault.get("shared") else f"REALM/CLUSTER/{vault.get('path', '')}"
    heading(output, "Vault", f"{place}, version {details.get('version') or NONE}")
    heading(
        output,
        "Secret",
        f"{target.get('namespace')}/{target.get('name')}  type {target.get('type', 'Opaque')}",
    )
    if seen.live.get("revoked"):
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


SHOWN = Shown(
    columns=(
        *START,
        Column("VERSION", _version),
        Column("CLUSTERS", share("synced", "placed")),
        Column("SYNCED", _synced),
        AGE,
        Column("VAULT", _vault, wide=True),
        Column("SECRET", _target, wide=True),
    ),
    describe=_describe,
)
