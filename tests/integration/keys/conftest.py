"""A fleet of each test's own, since its keys are changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fleetbus.local.processes import Processes
from tests.bus_server import fleet_server
from tests.integration.keys.stand import Stand


@pytest.fixture
async def stand(processes: Processes, tmp_path: Path) -> AsyncIterator[Stand]:
    async with (
        fleet_server(processes, tmp_path, f"keys-{tmp_path.name}") as server,
        AsyncExitStack() as stack,
    ):
        yield Stand(server, stack)
