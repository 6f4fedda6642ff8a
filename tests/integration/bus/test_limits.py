"""One credential of an agent's takes all that its account may have, and nobody of another account notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import read_record, write_record
from fleetbus.runtime.ports import Put
from fleetbus.schemas import limits, subjects
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.bus.raw import RawPublisher, raw_publisher

C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")
MOST = limits.LEAST_AGENTS * limits.CONNECTIONS_AN_AGENT + limits.SPARE_CONNECTIONS


@asynccontextmanager
async def _flood(fleet: FleetServer, who: str) -> AsyncIterator[list[RawPublisher]]:
    """As many connections as the server gives to one credential."""
    async with AsyncExitStack() as stack:
        found: list[RawPublisher] = []
        try:
            while len(found) <= MOST:
                found.append(await stack.enter_async_context(raw_publisher(fleet, who)))
        except (AssertionError, ConnectionError):
            pass
        yield found


async def test_a_flood_of_connections_ends_at_the_accounts_limit(own_fleet: FleetServer) -> None:
    async with own_fleet.bus("c2") as neighbour, _flood(own_fleet, "c1") as flood:
        # The neighbour has one already.
        assert len(flood) == MOST - 1
        await neighbour.put(Put(subjects.state(C2, "facts"), b"still here"))
        async with (
            own_fleet.bus("controller") as controller,
            own_fleet.bus("operator") as operator,
            own_fleet.bus("subscriber") as subscriber,
            subscriber.subscribe(subjects.ALL_EVENTS) as events,
        ):
            sequence = await controller.put(Put(subjects.emit("main", "c2", "bundle.applied"), b"1"))
            async with asyncio.timeout(10):
                assert (await events.__anext__()).sequence == sequence
            assert len(await operator.get_many("EVENTS", subjects.ALL_EVENTS)) == 1
            assert await controller.get_last("STATE", subjects.state(C2, "facts")) is not None


async def test_a_connection_has_no_more_subscriptions_than_it_needs(own_fleet: FleetServer) -> None:
    own = subjects.inbox("main", "c1").encode()
    async with raw_publisher(own_fleet, "c1") as peer:
        said: list[bytes] = []
        for number in range(limits.AGENT_SUBSCRIPTIONS + 1):
            said += await peer.write(b"SUB %b.a%d %d\r\n" % (own, number, number + 1))
        assert [line for line in said if b"maximum subscriptions" in line], said
    async with own_fleet.bus("c2") as neighbour, neighbour.subscribe(subjects.nudges(C2)):
        pass


async def test_more_clusters_give_more_room_on_the_running_bus(own_fleet: FleetServer) -> None:
    folder, before = own_fleet.folder, own_fleet.server.process.pid
    write_record(folder, read_record(folder).model_copy(update={"capacity": limits.LEAST_AGENTS + 1}))
    changed = await issue(folder, own_fleet.keys, CLOCK.now())
    assert changed == ("AGENTS_main",)
    async with own_fleet.bus("c2") as neighbour:
        await push_accounts(folder, changed, CLOCK)
        async with AsyncExitStack() as stack:
            for _ in range(MOST + 1):
                await stack.enter_async_context(raw_publisher(own_fleet, "c1"))
        assert neighbour.connection == 1
    assert own_fleet.server.process.pid == before
