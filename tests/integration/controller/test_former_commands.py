"""A cluster that leaves takes its open commands along: whoever has the name next was ordered nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import CommandList
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.streams import DESIRED
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.controller.enrolling import Candidate, admitted_token
from tests.integration.controller.people import Operator, controlling
from tests.waiting import wait_until

Y = ClusterId("main", "y")
RETIRE = {"name": "y", "left": "retired", "purge": False}


async def ordered(operator: Operator) -> str:
    order = {"cluster": "y", "driver": "rehearsal", "arguments": {"steps": 1}}
    issued = (await operator.ask("command", {"action": "run", "order": order}))["commands"][0]
    return str(issued["id"])


async def listed(bus: NatsBus) -> tuple[str, list[str]] | None:
    """For whom, and which commands, as the agent of that name reads it."""
    last = await bus.get_last(DESIRED.name, subjects.command(Y))
    told = CommandList.from_bytes(unverified(last.data)) if last else None
    return (told.cluster, [one.id for one in told.commands]) if told else None


@pytest.mark.parametrize("uid", ["uid-1", "uid-2"])
async def test_a_name_that_is_kept_is_given_on_without_its_open_commands(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path, uid: str
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        assert (
            await Candidate("uid-1").enrol(await admitted_token(fleet, operator, "y"))
        ).outcome == "admitted"
        assert await listed(bus) is None
        former = await ordered(operator)
        assert await listed(bus) == ("uid-1", [former])
        await operator.ask("retire", RETIRE)
        assert await listed(bus) is None
        assert (await Candidate(uid).enrol(await admitted_token(fleet, operator, "y"))).outcome == "admitted"
        assert await listed(bus) is None
        new = await ordered(operator)
        assert await listed(bus) == (uid, [new])


async def test_a_list_that_outlived_its_cluster_is_taken_away_by_the_next_controller(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    """Its predecessor died with the tombstone written and the list still there."""
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        assert (
            await Candidate("uid-1").enrol(await admitted_token(fleet, operator, "y"))
        ).outcome == "admitted"
        await ordered(operator)
        last = await bus.get_last(DESIRED.name, subjects.command(Y))
        assert last is not None
        await operator.ask("retire", RETIRE)
        await one.kill()
    await bus.put(Put(subjects.command(Y), last.data))
    async with controlling(fleet, tmp_path, "two", gone=["one"]):

        async def gone() -> bool:
            return await listed(bus) is None

        assert await wait_until(gone, CLOCK, 10)
