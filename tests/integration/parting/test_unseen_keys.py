"""Keys that nobody showed when the bus was told: the command ends well only when these are revoked too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from fleetbus.cli.ceremony.parting import Parting
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.ceremony.steps import Taken, take
from fleetbus.cli.owning import owning
from fleetbus.client import Fleet, connect, load_context
from fleetbus.schemas.enrolment_api import EnrolmentsResult, RetireRequest
from fleetbus.schemas.errors import BusUnavailable
from tests.bus_server import CLOCK
from tests.integration.controller.enrolling import Candidate
from tests.integration.parting.conftest import Stand
from tests.waiting import wait_until

Before = Callable[[], Awaitable[None]]


class _Disturbed:
    """The real fleet. `silent`: which of its answers about a name's keys are lost. `before`: done before it retires."""

    def __init__(self, fleet: Fleet, silent: tuple[int, ...], before: Before | None) -> None:
        self._fleet, self._silent, self._before, self._asked = fleet, silent, before, 0

    async def enrolments(self, *, name: str) -> EnrolmentsResult:
        self._asked += 1
        if self._asked in self._silent:
            raise BusUnavailable("no controller answers")
        return await self._fleet.enrolments(name=name)

    async def retire(self, asked: RetireRequest) -> Any:
        if self._before is not None:
            await self._before()
        return await self._fleet.retire(asked)


async def revoked(
    stand: Stand, name: str, *, silent: tuple[int, ...] = (), before: Before | None = None
) -> Mapping[str, Taken]:
    context = load_context(file=Path(stand.environment["FLEETBUS_CONFIG"]))
    async with connect(context) as fleet, owning(stand.folder, None, CLOCK) as owned:

        async def reach() -> Fleet:
            return cast(Fleet, disturbed)

        disturbed = _Disturbed(fleet, silent, before)
        asked = RetireRequest(name=name, left="revoked")
        steps = Parting(asked, CLOCK, reach, owned).steps()
        taken = await take(steps, CLOCK, CLOCK.monotonic_s(), lambda one: None)
    return {one.step.name: one for one in taken}


@pytest.fixture(autouse=True)
def _as_its_owner(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", stand.environment["VAULT_TOKEN"])


def on_the_bus(stand: Stand, nkey: str) -> set[str]:
    """The accounts in which the folder, and so the bus, says that the key counts no more."""
    return {one.account for one in read_record(stand.folder).revoked if one.nkey == nkey}


async def test_with_nobody_connected_and_no_answer_the_bus_was_told_of_nothing_and_that_is_said(
    stand: Stand,
) -> None:
    """As while another controller takes over: the fleet's part ends well all the same."""
    member = await stand.join("unseen")
    taken = await revoked(stand, "unseen", silent=(1,))
    assert isinstance(taken["revoked"].error, BusUnavailable)
    assert (taken["closed"].done, taken["left"].done) == (False, True)
    assert on_the_bus(stand, member.candidate.nkey) == set()
    again = await revoked(stand, "unseen")
    assert all(one.done for one in again.values()), again
    assert on_the_bus(stand, member.candidate.nkey) == {"AGENTS_main", "ENROL"}
    async with stand.agent(1, member) as bus:

        async def denied() -> bool:
            return bus.denied

        assert await wait_until(denied, CLOCK, 10)


async def test_who_came_in_by_a_token_of_a_name_without_any_key_is_revoked_too(stand: Stand) -> None:
    token, candidate = await stand.token("first"), Candidate("uid-first")

    async def comes_in() -> None:
        assert (await candidate.enrol(token)).outcome == "admitted"

    taken = await revoked(stand, "first", before=comes_in)
    assert taken["revoked"].text == "no key of it is known"
    assert "1 more key is revoked" in taken["left"].text
    assert on_the_bus(stand, candidate.nkey) == {"AGENTS_main", "ENROL"}


async def test_when_nobody_says_who_came_in_meanwhile_it_has_not_ended_well(stand: Stand) -> None:
    member = await stand.join("second")
    taken = await revoked(stand, "second", silent=(2,))
    assert isinstance(taken["left"].error, BusUnavailable)
    assert on_the_bus(stand, member.candidate.nkey) == {"AGENTS_main", "ENROL"}
    assert all(one.done for one in (await revoked(stand, "second")).values())
