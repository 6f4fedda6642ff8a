"""Two controllers at once: one acts, the other takes over, and who slept writes nothing any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.controller.fence import Fence
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import SequenceConflict
from fleetbus.schemas.streams import DESIRED
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.integration.controller.people import CLOCK, Operator, controlling
from tests.integration.controller.toy import cluster_document
from tests.waiting import wait_until

C1 = ClusterId("main", "c1")


async def test_only_one_of_two_controllers_acts(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "one") as one, controlling(fleet, tmp_path, "two") as two:
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        await CLOCK.sleep(1.5)
        assert sorted([len(one.terms), len(two.terms)]) == [0, 1]


async def test_a_clean_stop_hands_over_at_once(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "two") as two, controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        leads, waits = (two, one) if two.terms else (one, two)
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        leads.task.cancel()
        began_s = CLOCK.monotonic_s()

        async def taken_over() -> bool:
            return bool(waits.terms)

        assert await wait_until(taken_over, CLOCK, 5)
        assert CLOCK.monotonic_s() - began_s < 4
        await operator.wait_answered()
        assert len((await operator.ask("list", {"kind": "Cluster"}))["rows"]) == 1


async def test_a_killed_leader_is_replaced_when_its_lease_has_run_out(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        await one.kill()
        began_s = CLOCK.monotonic_s()
        async with controlling(fleet, tmp_path, "two") as two:

            async def taken_over() -> bool:
                return bool(two.terms)

            assert await wait_until(taken_over, CLOCK, 12)
            assert CLOCK.monotonic_s() - began_s < 12


async def test_a_killed_leader_that_is_surely_gone_is_replaced_at_once(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        await one.kill()
        async with controlling(fleet, tmp_path, "two", gone=["one"]) as two:

            async def taken_over() -> bool:
                return bool(two.terms)

            assert await wait_until(taken_over, CLOCK, 3)


async def test_late_writes_of_a_former_leader_are_refused(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        slept = Fence(bus, one.terms[0])
        await slept.put([(subjects.desired(C1), b"early")])
        await one.kill()
    async with controlling(fleet, tmp_path, "two", gone=["one"]):
        await operator.wait_answered()

        with pytest.raises(SequenceConflict):
            await slept.put([(subjects.desired(C1), b"late"), (subjects.command(C1), b"late")])

    last = await bus.get_last(DESIRED.name, subjects.desired(C1))
    assert last is None or last.data != b"late"
    assert await bus.get_last(DESIRED.name, subjects.command(C1)) is None


async def test_a_leader_whose_term_was_taken_stops_acting(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        # The lease is usurped while the leader is not looking, as when it slept longer than its lease.
        await bus.purge(DESIRED.name, subjects.LEASE)
        async with controlling(fleet, tmp_path, "two") as two:

            async def taken_over() -> bool:
                return bool(two.terms)

            assert await wait_until(taken_over, CLOCK, 5)

            async def given_up() -> bool:
                return not one.leader.holds()

            assert await wait_until(given_up, CLOCK, 5)
            assert len(one.terms) == 1
