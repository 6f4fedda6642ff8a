"""A controller with the true key, and a cluster whose owner asks for two of three approvers: on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetbus.local.build import Binaries
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.processes import Processes
from fleetbus.schemas.approvals import (
    COMMAND,
    PRUNE,
    SET,
    ApprovalKind,
    ProtectionState,
    Waiting,
    command_digest,
)
from fleetbus.schemas.capabilities.bundles import (
    REASON_PRUNE_NOT_APPROVED,
    BundleEntry,
    BundlesState,
    aspect_of,
)
from fleetbus.schemas.capabilities.commands import PHASE_SUCCEEDED
from fleetbus.schemas.desired import Command, Retired
from fleetbus.schemas.states import Results, State
from tests.approvers import ANA, BEN, EVE, PATH, approval, here, protection, signed
from tests.bundles_stand import config_map
from tests.bus_server import empty_streams
from tests.integration.agent.conftest import Joined, joining
from tests.integration.agent.test_agent_process import CONFIG_MAPS, agent, eventually, until_data, until_state


class Watched:
    """The cluster as its owner, its approvers and whoever tells it see it."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.teller = joined.teller

    async def until(self, holds: Callable[[ProtectionState], bool]) -> ProtectionState:
        def is_so(state: State) -> bool:
            told = state.body.get("protection")
            return told is not None and holds(ProtectionState.from_json(told))

        found = await until_state(self.joined, "facts", is_so)
        return ProtectionState.from_json(found.body["protection"])

    async def until_waits(self, kind: ApprovalKind, *by: str, digest: str = "") -> ProtectionState:
        def waits(one: Waiting) -> bool:
            return one.kind == kind and one.approved_by == by and (not digest or one.digest == digest)

        return await self.until(lambda state: any(map(waits, state.waiting)))

    async def until_nothing_waits(self) -> ProtectionState:
        return await self.until(lambda state: not state.waiting)

    def sign(self, state: ProtectionState, digest: str, key: Any, **fields: Any) -> str:
        where = here(self.teller.identity, state, prunes=fields.pop("prunes", {}))
        return signed(approval(digest, self.teller.clock.now(), where, **fields), key)

    async def exists(self, name: str) -> bool:
        return await self.joined.cluster.admin.exists(f"{CONFIG_MAPS}/{name}")


@pytest.fixture(scope="module")
async def shared(
    processes: Processes, server_dir: Path, binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Joined]:
    """One cluster for all tests of this module, each of which leaves it as its owner's, unprotected."""
    folder = tmp_path_factory.mktemp("protected")
    async with (
        ControlPlane(processes, server_dir / "protected", binaries, "protected") as cluster,
        joining(cluster, processes, server_dir, folder) as one,
    ):
        yield one


@pytest.fixture
async def joined(shared: Joined) -> AsyncIterator[Joined]:
    admin = shared.cluster.admin
    yield shared
    if await admin.exists(f"{PATH}/fleetbus"):
        await admin.delete(f"{PATH}/fleetbus")
    # What its agent remembers and has said goes with it, as when it is installed anew.
    await admin.delete("/apis/agent.fleetbus.dev/v1alpha1/namespaces/fleetbus-system/agentstates/agent")
    async with shared.server.bus("controller") as bus:
        await empty_streams(bus)


@pytest.fixture
async def watched(joined: Joined) -> Watched:
    """Protected before its agent starts for the first time."""
    await joined.cluster.admin.create(PATH, protection(2))
    return Watched(joined)


def applied(entry: BundleEntry, reason: str) -> Callable[[State], bool]:
    def holds(state: State) -> bool:
        return any(
            condition.reason == reason
            for one in BundlesState.from_json(state.body).bundles
            for condition in one.conditions
            if one.id == entry.id
        )

    return holds


async def test_a_set_counts_with_two_approvers_and_what_it_removes_with_two_as_well(
    watched: Watched, tmp_path: Path
) -> None:
    teller = watched.teller
    first = await teller.entry("app", [config_map(name, "default", v="1") for name in ("a", "b")])
    async with agent(watched.joined, tmp_path / "agent.log"):
        await teller.tell([first])
        none = await watched.until_waits(SET)
        set_ = none.waiting[0].digest
        one = watched.sign(none, set_, ANA)
        stranger = watched.sign(none, set_, EVE)
        await teller.tell([first], approvals=(one, one, stranger))
        await watched.until_waits(SET, "ana")
        assert not await watched.exists("a")
        await teller.tell([first], approvals=(one, watched.sign(none, set_, BEN)))
        await until_data(watched.joined, "a", {"v": "1"})
        accepted = await watched.until_nothing_waits()
        assert accepted.set == set_

        # What the approvers of the set did not agree to remove stays.
        less = await teller.entry("app", [config_map("a", "default", v="2")])
        await teller.tell([less])
        waiting = await watched.until_waits(SET)
        named = waiting.waiting[0].digest
        both = tuple(watched.sign(waiting, named, key) for key in (ANA, BEN))
        await teller.tell([less], approvals=both)
        await until_data(watched.joined, "a", {"v": "2"})
        held = await watched.until_waits(PRUNE)
        assert held.waiting[0].prunes == {less.id: 1}
        await until_state(watched.joined, aspect_of(less.id), applied(less, REASON_PRUNE_NOT_APPROVED))
        assert await watched.exists("b")

    # What was accepted and what is held outlive the process.
    async with agent(watched.joined, tmp_path / "agent.log"):
        again = await watched.until_waits(PRUNE)
        assert (again.turn, again.set) == (held.turn, named)
        few, enough_ = (
            tuple(
                watched.sign(again, named, key, kind=PRUNE, prunes={less.id: count})
                for key, count in ((ANA, 1), (BEN, other))
            )
            for count, other in ((1, 0), (1, 1))
        )
        await teller.tell([less], approvals=few)
        await watched.until_waits(PRUNE, "ana")
        assert await watched.exists("b")
        await teller.tell([less], approvals=enough_)

        async def is_gone() -> bool:
            return not await watched.exists("b")

        await eventually(is_gone)
        await watched.until_nothing_waits()

        # The former set again, with the approvals that it had: they are used up.
        await teller.tell([first], approvals=(one, watched.sign(none, set_, BEN)))
        await watched.until_waits(SET, digest=set_)
        await until_data(watched.joined, "a", {"v": "2"})


async def test_a_command_and_a_retirement_wait_for_two_approvers(watched: Watched, tmp_path: Path) -> None:
    teller, now = watched.teller, watched.teller.clock.now()
    entry = await teller.entry("app", [config_map("a", "default", v="1")])
    order = Command(
        id="order-1", driver="rehearsal", issued_at=now, deadline=now + timedelta(minutes=5), arguments={}
    )
    evil = order.model_copy(update={"arguments": {"steps": 99}})
    async with agent(watched.joined, tmp_path / "agent.log"):
        await teller.command(order)
        state = await watched.until_waits(COMMAND)
        results = await until_state(watched.joined, "result", lambda one: bool(one.body["commands"]))
        (result,) = Results.from_json(results.body).commands
        assert result.phase == "Accepted"
        assert "0 of 2 approvals; fleetbus approve cluster/c1" in result.message
        both = tuple(
            watched.sign(state, command_digest(order), key, kind=COMMAND, command=order.id)
            for key in (ANA, BEN)
        )
        await teller.command(evil, approvals=both)
        await watched.until_waits(COMMAND, digest=command_digest(evil))
        await teller.command(order, approvals=both)

        def has_succeeded(one: State) -> bool:
            return [each.phase for each in Results.from_json(one.body).commands] == [PHASE_SUCCEEDED]

        await until_state(watched.joined, "result", has_succeeded)

        await teller.tell([entry])
        waiting = await watched.until_waits(SET)
        await teller.tell(
            [entry],
            approvals=tuple(watched.sign(waiting, waiting.waiting[0].digest, key) for key in (ANA, BEN)),
        )
        await until_data(watched.joined, "a", {"v": "1"})
        retired = Retired(capability="bundles", id=entry.id, name="app", policy="Remove", count=1)
        await teller.tell([], retired=[retired])
        waiting = await watched.until_waits(SET)
        agreed = tuple(
            watched.sign(waiting, waiting.waiting[0].digest, key, prunes={entry.id: 1}) for key in (ANA, BEN)
        )
        assert await watched.exists("a")
        await teller.tell([], retired=[retired], approvals=agreed)

        async def is_gone() -> bool:
            return not await watched.exists("a")

        await eventually(is_gone)
        # Once the receipt is in the retirement leaves the set: nothing new is told, and nobody is asked.
        done = await watched.until_nothing_waits()
        await teller.tell([])
        await watched.until(lambda one: one.set != done.set and not one.waiting)


async def test_only_the_owners_word_lifts_the_protection(joined: Joined, tmp_path: Path) -> None:
    watched, teller, admin = Watched(joined), joined.teller, joined.cluster.admin
    entry = await teller.entry("app", [config_map("a", "default", v="1")])
    await teller.tell([entry])
    async with agent(joined, tmp_path / "agent.log"):
        await until_data(joined, "a", {"v": "1"})
        accepted = await until_state(joined, "facts", lambda one: one.body["acceptedSet"] != "")
        assert "protection" not in accepted.body

        # What was accepted before the protection stays accepted.
        await admin.create(PATH, protection(2))
        state = await watched.until(lambda one: one.required == 2)
        assert state.set == accepted.body["acceptedSet"]
        changed = await teller.entry("app", [config_map("a", "default", v="2")])
        await teller.tell([changed])
        await watched.until_waits(SET)

        await admin.delete(f"{PATH}/fleetbus")
        await watched.until(lambda one: "it is gone" in one.trouble and one.required == 2)
        await until_data(joined, "a", {"v": "1"})
        await admin.create(PATH, protection(1, ["cyd"]))
        await watched.until(lambda one: one.required == 1 and not one.trouble)
        await admin.merge(f"{PATH}/fleetbus", {"spec": {"required": 0}})
        await until_data(joined, "a", {"v": "2"})
        await until_state(joined, "facts", lambda one: "protection" not in one.body)
