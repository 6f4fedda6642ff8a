"""A credential is changed while all goes on: no nudge and no question is lost, and an ended one is known as such."""

from __future__ import annotations

import asyncio

import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer, renewed
from tests.waiting import wait_until

C1 = ClusterId("main", "c1")
AGENTS = "AGENTS_main"


async def test_no_nudge_and_no_question_is_lost_while_it_changes(
    fleet: FleetServer, controller: NatsBus
) -> None:
    changes, written = 40, list[int]()
    async with fleet.bus("c1") as agent, agent.subscribe(subjects.nudges(C1)) as nudges:
        seen: set[int] = set()
        failed: list[str] = []

        async def listen() -> None:
            async for nudge in nudges:
                seen.add(nudge.sequence)

        async def write() -> None:
            while len(written) < 50 or changing:
                written.append(await controller.put(Put(subjects.desired(C1), b"head")))

        async def read() -> None:
            while changing:
                try:
                    assert await agent.get_last("DESIRED", subjects.desired(C1)) is not None
                except BusUnavailable as error:
                    failed.append(error.message)

        changing = True
        listening = asyncio.create_task(listen())
        written.append(await controller.put(Put(subjects.desired(C1), b"head")))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            tasks.create_task(read())
            for _ in range(changes):
                await agent.change_credential(await renewed(fleet, "c1"))
                assert agent.connected
            changing = False

        async def all_seen() -> bool:
            return seen >= set(written)

        assert await wait_until(all_seen, CLOCK, 10), set(written) - seen
        assert failed == []
        assert agent.connection == 1 + changes
        listening.cancel()


async def test_an_ended_credential_is_known_and_the_next_one_connects(fleet: FleetServer) -> None:
    async with fleet.bus("c1") as agent, agent.subscribe(subjects.nudges(C1)):
        assert not agent.denied
        await agent.change_credential(await renewed(fleet, "c1", lives_s=2))

        async def is_denied() -> bool:
            return agent.denied

        assert await wait_until(is_denied, CLOCK, 15)
        assert not agent.connected
        await agent.change_credential(await renewed(fleet, "c1"))
        async with asyncio.timeout(15):
            await agent.wait_connected()
        assert not agent.denied


async def test_one_that_the_server_refuses_leaves_the_connection_as_it_is(fleet: FleetServer) -> None:
    async with fleet.bus("c1") as agent:
        stale = await renewed(fleet, "c1", lives_s=-10)
        with pytest.raises(BusUnavailable):
            await agent.change_credential(stale)
        assert agent.connected
        await agent.get_last("DESIRED", subjects.desired(C1))
