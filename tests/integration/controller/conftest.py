"""A server for the controller's tests, its streams empty for each, with an operator and two clusters' speakers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer, empty_streams, fleet_server
from tests.integration.controller.people import Operator, Speaker


@pytest.fixture(scope="session")
async def controller_fleet(processes: Processes, server_dir: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, server_dir, "controller") as fleet:
        yield fleet


@pytest.fixture
async def fleet(controller_fleet: FleetServer) -> FleetServer:
    async with controller_fleet.bus("controller") as bus:
        await empty_streams(bus)
    return controller_fleet


@pytest.fixture
async def bus(fleet: FleetServer) -> AsyncIterator[NatsBus]:
    """A look at the streams, with the controller's credential."""
    async with fleet.bus("controller") as bus:
        yield bus


@pytest.fixture
async def operator(fleet: FleetServer) -> AsyncIterator[Operator]:
    async with fleet.bus("operator") as bus:
        yield Operator(bus, fleet.credentials["operator"])


@pytest.fixture
async def c1(fleet: FleetServer) -> AsyncIterator[Speaker]:
    async with fleet.bus("c1") as bus:
        yield Speaker(bus, ClusterId("main", "c1"), fleet.seed("c1"), "uid-1")


@pytest.fixture
async def c2(fleet: FleetServer) -> AsyncIterator[Speaker]:
    async with fleet.bus("c2") as bus:
        yield Speaker(bus, ClusterId("main", "c2"), fleet.seed("c2"), "uid-2")
