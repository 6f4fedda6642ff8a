"""A server of the fleet for this session, with each test's own connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.local.ports import free_port
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from tests.bus_server import FleetServer, empty_streams, fleet_server


@pytest.fixture(scope="session")
async def shared_fleet(processes: Processes, server_dir: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, server_dir, "bus") as fleet:
        yield fleet


@pytest.fixture(scope="module")
async def served(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FleetServer]:
    """One that takes WebSockets too; each test leaves it running."""
    folder = tmp_path_factory.mktemp("served")
    async with fleet_server(processes, folder, "served", websocket_port=free_port()) as fleet:
        yield fleet


@pytest.fixture
async def fleet(shared_fleet: FleetServer) -> FleetServer:
    """The session's server with empty streams."""
    async with shared_fleet.bus("controller") as bus:
        await empty_streams(bus)
    return shared_fleet


@pytest.fixture
async def own_fleet(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    """A server of this test alone, to kill."""
    async with fleet_server(processes, tmp_path, f"bus-{tmp_path.name}") as fleet:
        yield fleet


@pytest.fixture
async def controller(fleet: FleetServer) -> AsyncIterator[NatsBus]:
    async with fleet.bus("controller") as bus:
        yield bus


@pytest.fixture
async def agent(fleet: FleetServer) -> AsyncIterator[NatsBus]:
    async with fleet.bus("c1") as bus:
        yield bus
