"""The suite of the port `Bus` runs twice: on a real server and on the simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import cast

import pytest

from fleetbus.cli.ceremony.record import read_record
from fleetbus.local.processes import Processes
from fleetbus.schemas import streams
from tests.bus_server import FleetServer, empty_streams, fleet_server
from tests.simulation.bus import SimulatedServer
from tests.suites.bus_pairs import C1, CLOCK, Buses

OPERATOR_KEY = "U" + "A" * 55


@pytest.fixture(scope="session")
async def suite_fleet(processes: Processes, server_dir: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, server_dir, "bus-suite") as fleet:
        yield fleet


@pytest.fixture(params=["simulated", "real"])
def bus_fleet(request: pytest.FixtureRequest) -> FleetServer | None:
    """The real server, or None for the simulated one, which needs no process."""
    if request.param == "simulated":
        return None
    return cast("FleetServer", request.getfixturevalue("suite_fleet"))


@pytest.fixture
async def buses(bus_fleet: FleetServer | None) -> AsyncIterator[Buses]:
    """One bus for each kind of who connects, to empty streams."""
    if bus_fleet is None:
        server = SimulatedServer(CLOCK, Random(1))
        yield Buses(
            server.bus("controller"),
            server.bus("c1", streams.agent_permissions(C1), account="AGENTS_main", user="UAGENT"),
            server.bus("operator", streams.operator_permissions(OPERATOR_KEY, "admin"), account="OPERATORS"),
            "UAGENT",
            "OPERATORS",
        )
        return
    async with AsyncExitStack() as stack:
        controller, agent, operator = [
            await stack.enter_async_context(bus_fleet.bus(who)) for who in ("controller", "c1", "operator")
        ]
        await empty_streams(controller)
        yield Buses(
            controller,
            agent,
            operator,
            bus_fleet.public_key("c1"),
            read_record(bus_fleet.folder).accounts["OPERATORS"],
        )
