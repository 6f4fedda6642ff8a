"""A fleet's folder as `fleetbus init` makes it, for tests that run no loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.record import FleetRecord

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def founded(
    folder: Path,
    plan: FleetPlan,
    say: Callable[[str], None] = lambda line: None,
    *,
    now: datetime = NOW,
    root_key: Path | None = None,
) -> FleetRecord:
    return asyncio.run(make_fleet(folder, plan, FolderKeys(folder), now, say, root_key=root_key))
