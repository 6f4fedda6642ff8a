"""The finding of `doctor` about permissions: what the running bus says, against what the contract says."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetbus.cli.ceremony.compare import differences
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.issue import wanted_accounts
from fleetbus.cli.ceremony.online import running_accounts
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.revocations import MOST_REVOKED, crowded
from fleetbus.cli.checks import Check
from fleetbus.cli.text import counted
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import FleetbusError

CODE = "FB3006"
CROWDED_CODE = "FB3015"


async def permission_checks(folder: Path | None) -> list[Check]:
    """With the system's credential, which is in the fleet's folder; one finding a difference."""
    if folder is None:
        return [Check("bus", CODE, "skip", "permissions on the bus: needs the fleet's folder (--fleet-dir)")]
    try:
        crowds = _crowds(await asyncio.to_thread(read_record, folder))
        running = await running_accounts(folder, SystemClock())
        return [*await asyncio.to_thread(_compared, folder, running), *crowds]
    except FleetbusError as error:
        return [Check("bus", CODE, "skip", f"permissions on the bus: {error.message}", why=error.where)]


def _compared(folder: Path, running: dict[str, str]) -> list[Check]:
    wanted = wanted_accounts(read_record(folder), SystemClock().now())
    online = f"fleetbus init --out {folder} --online"
    found: list[Check] = []
    for name, claims in wanted.items():
        # A folder that was written by another version has to be written again before it is given to the bus.
        stale = bool(differences(claims, read_token(folder, name)))
        fix = f"fleetbus init --out {folder} && {online}" if stale else online
        for text in differences(claims, running.get(name, "")):
            found.append(Check("bus", CODE, "bad", text, why="the contract says otherwise", fix=fix))
    return found or [
        Check("bus", CODE, "good", f"permissions of {counted(len(wanted), 'account')} as the contract says")
    ]


def _crowds(record: FleetRecord) -> list[Check]:
    return [
        Check(
            "bus",
            CROWDED_CODE,
            "warn",
            f"the token of {name} names {count} revoked keys, and has room for {MOST_REVOKED}",
            why="once it is full, no other key can be revoked there",
            fix=f"fleetbus explain {CROWDED_CODE}",
        )
        for name, count in sorted(crowded(record).items())
    ]
