"""The bus is killed and comes back: the controller goes on, and nothing is missing or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.local.processes import Processes
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer, fleet_server
from tests.integration.controller.people import (
    CLOCK,
    Operator,
    Speaker,
    controlling,
    events,
    head_of,
    is_in_order,
)
from tests.integration.controller.toy import bundle_document, cluster_document
from tests.waiting import wait_until


@pytest.fixture
async def own_fleet(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, tmp_path, f"outage-{tmp_path.name}") as fleet:
        yield fleet


async def test_the_controller_outlives_the_bus(own_fleet: FleetServer, tmp_path: Path) -> None:
    async with (
        own_fleet.bus("controller") as bus,
        own_fleet.bus("operator") as people,
        own_fleet.bus("c1") as agent,
        controlling(own_fleet, tmp_path) as controller,
    ):
        operator = Operator(people, own_fleet.credentials["operator"])
        c1 = Speaker(agent, ClusterId("main", "c1"), own_fleet.seed("c1"), "uid-1")
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", own_fleet.public_key("c1")), bundle_document("web"))
        await c1.start()
        for round_ in range(2):
            await c1.happen("bundles-0", 2 * round_, 2 * round_ + 1)
            await own_fleet.server.kill()
            await own_fleet.server.start()
            for each in (bus, people, agent):
                await each.wait_connected()
            await operator.wait_answered()
            assert await operator.apply(bundle_document("web", f"p{round_}")) == ["configured"]

        async def all_told() -> bool:
            return [event.short_type for event in await events(bus)].count("bundle.applied") == 4

        async def published() -> bool:
            return await head_of(bus, c1.cluster) is not None

        assert await wait_until(all_told, CLOCK, 15)
        assert await wait_until(published, CLOCK, 15)
        assert is_in_order(await events(bus))
        # A write whose acknowledgement was lost may end a term; an outage alone does not.
        assert len(controller.terms) <= 3
