"""Who is connected, as the servers tell it: whole in however many pages, by verified token, and closed when told."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from fleetbus.cli.ceremony.closing import see_closed
from fleetbus.cli.ceremony.folder import server_names
from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime.nats_connections import read_connections
from fleetbus.schemas import connections
from tests.bus_server import CLOCK, FleetServer
from tests.integration.bus.raw import raw_publisher

AGENTS = "AGENTS_main"


async def test_all_are_told_in_however_many_pages_and_none_of_another_account(
    fleet: FleetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(fleet.folder)
    names = server_names(record)
    async with AsyncExitStack() as stack:
        for who in ("c1", "c2", "c1", "operator"):
            await stack.enter_async_context(fleet.bus(who))
        system = await stack.enter_async_context(fleet.bus("system"))
        for page in (512, 2, 1):
            monkeypatch.setattr(connections, "PAGE", page)
            found = await read_connections(system, CLOCK, record.accounts[AGENTS], names)
            assert (found.servers, found.silent) == (names, frozenset())
            told = sorted((one.name, one.nkey) for one in found.connections)
            c1, c2 = (("c1", fleet.public_key("c1")), ("c2", fleet.public_key("c2")))
            assert told == [c1, c1, c2]


async def test_a_server_that_is_not_there_is_named_and_waited_for_only_so_long(fleet: FleetServer) -> None:
    account = read_record(fleet.folder).accounts[AGENTS]
    async with fleet.bus("system") as system:
        found = await read_connections(system, CLOCK, account, ("test-1", "test-2"), timeout_s=0.2)
    assert (found.servers, found.silent) == (frozenset({"test-1"}), frozenset({"test-2"}))


@pytest.mark.parametrize("claimed", ["nkey", "user"])
async def test_who_says_to_be_another_is_found_and_closed_by_force(fleet: FleetServer, claimed: str) -> None:
    """Of a key that nobody revoked, so that the server does not do it by itself."""
    async with (
        raw_publisher(fleet, "c1", {claimed: fleet.public_key("c2")}),
        fleet.bus("system") as system,
        fleet.bus("c2") as neighbour,
    ):
        key = fleet.public_key("c1")
        closed = await see_closed(system, fleet.folder, CLOCK, (AGENTS,), lambda one: one.nkey == key)
        assert (closed.servers, closed.kicked) == (1, 1)
        assert neighbour.connection == 1
