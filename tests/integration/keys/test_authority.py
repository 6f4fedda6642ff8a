"""The authority of the bus's servers is replaced under two hundred agents: no connection ends, and ten that were away
find back with nothing but the former one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.folder import authority_file
from fleetbus.cli.rotate_authority import rotate_authority
from fleetbus.local.processes import Processes
from fleetbus.runtime.certificates import make_authority
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.trust import Trust
from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.errors import BusUnavailable
from tests.bus_server import CLOCK, fleet_server
from tests.integration.keys.stand import SOON_S, Stand
from tests.integration.keys.test_publish_key import until_holding
from tests.waiting import wait_until

AGENTS, AWAY = 200, 10


@pytest.fixture
async def crowd(processes: Processes, tmp_path: Path) -> AsyncIterator[Stand]:
    name = f"crowd-{tmp_path.name}"
    async with (
        fleet_server(processes, tmp_path, name, clusters=AGENTS) as server,
        AsyncExitStack() as stack,
    ):
        yield Stand(server, stack)


async def test_of_two_hundred_agents_none_is_disconnected_and_ten_find_back(crowd: Stand) -> None:
    former = await asyncio.to_thread(authority_file(crowd.folder).read_text)
    async with crowd.controller() as program:
        await crowd.until_answered()
        members = await crowd.join(*(f"c{number}" for number in range(AGENTS)))
        await until_holding(crowd, *members)
        away, there = members[:AWAY], members[AWAY:]
        async with asyncio.TaskGroup() as stopping:
            for one in away:
                stopping.create_task(one.stop())

        await rotate_authority(crowd.changing(), None)

        assert [one.name for one in there if one.bus_here.connection != 1 or not one.bus_here.connected] == []
        assert program.returncode is None
        await until_holding(crowd, *there)
        present = await asyncio.to_thread(authority_file(crowd.folder).read_text)
        assert {one.charter.authorities for one in there if one.charter} == {present} != {former}
        # What is shown now is believed by who knows the new authority alone, and by who knows the former one alone.
        address, nobody = parse_address(crowd.record.bus_servers[0]), make_authority("nobody", CLOCK.now())
        for pem in (present, former):
            await certificate_ends_at(address, Trust(ca_pem=pem))
        with pytest.raises(BusUnavailable, match="certificate"):
            await certificate_ends_at(address, Trust(ca_pem=nobody.certificate.decode()))
        # Those that come back believe the former one alone, which vouches for the other.
        for one in away:
            await one.start()
        await until_holding(crowd, *away)
        assert {one.charter.authorities for one in away if one.charter} == {present}
        # And those that were there believe the new one alone, when they connect again.
        async with asyncio.TaskGroup() as leaving:
            for one in there:
                leaving.create_task(one.bus_here.reconnect())

        async def back() -> bool:
            return all(one.bus_here.connected and one.bus_here.connection == 2 for one in there)

        assert await wait_until(back, CLOCK, SOON_S)
