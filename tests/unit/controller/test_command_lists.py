"""Tidying command lists goes on whatever one cluster's list does. On virtual time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random

import pytest
from nacl.signing import SigningKey

from fleetbus.controller import orders
from fleetbus.controller.audit import AuditChain
from fleetbus.controller.command_lists import CommandLists, Commands
from fleetbus.controller.fence import Fence
from fleetbus.controller.leader import Term, TermRecord
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Command, CommandList
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.states import Results
from fleetbus.schemas.subjects import ClusterId
from tests.seals import SEAL
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate


def test_one_clusters_list_ends_no_tidying(monkeypatch: pytest.MonkeyPatch) -> None:
    real = orders.remaining

    def remaining(commands: Commands, results: Results | None, now: datetime) -> Commands:
        if commands and commands[0].issued_by == "bad":
            raise OverflowError("date value out of range")
        return real(commands, results, now)

    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[bool, int]:
        monkeypatch.setattr(orders, "remaining", remaining)
        clock = VirtualClock(loop, chance)
        bus = SimulatedServer(clock, chance).bus("controller")
        record = TermRecord(term=1, holder="h", epoch=1)
        term = Term(1, await bus.put(Put(subjects.TERM, record.to_bytes())), 1, clock.now())
        known = Known("test")
        for name in ("bad", "good"):
            put_cluster(known, name)
        lists = command_lists(bus, clock, known, term)
        tidying = asyncio.create_task(lists.tidy())
        await clock.sleep(2000)
        done = tidying.done()
        tidying.cancel()
        await asyncio.wait([tidying])
        return done, len(known.command_lists[ClusterId("main", "good")].commands)

    assert simulate(1, scenario) == (False, 0)


def test_what_the_former_holder_of_a_name_was_ordered_is_not_the_new_ones() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[Commands], CommandList]:
        clock, seen = VirtualClock(loop, chance), list[Commands]()
        bus = SimulatedServer(clock, chance).bus("controller")
        record = TermRecord(term=1, holder="h", epoch=1)
        term = Term(1, await bus.put(Put(subjects.TERM, record.to_bytes())), 1, clock.now())
        known = Known("test")
        put_cluster(known, "y", told="uid-of-the-former-one")
        old = known.command_lists[ClusterId("main", "y")].commands[0]

        def change(before: Commands) -> Commands:
            seen.append(before)
            return (*before, old.model_copy(update={"id": "b"}))

        await command_lists(bus, clock, known, term).change("y", change)
        return seen, known.command_lists[ClusterId("main", "y")]

    seen, after = simulate(1, scenario)
    assert seen == [()]
    assert (after.cluster, [one.id for one in after.commands]) == ("uid-y", ["b"])
    assert after.serial > 1


def command_lists(bus: Bus, clock: VirtualClock, known: Known, term: Term) -> CommandLists:
    return CommandLists(
        bus,
        clock,
        known,
        Statuses(bus, known, clock, SEAL),
        Fence(bus, term),
        SEAL,
        ServerTime(clock),
        AuditChain(bus, clock, "test", SigningKey(b"\x01" * 32)),
    )


def put_cluster(known: Known, name: str, told: str = "") -> None:
    """A cluster with one command that was over long ago, told to the one of this UID, which may be another."""
    then = START - timedelta(days=1)
    spec = {"key": "U", "uid": f"uid-{name}"}
    known.put_document(
        Stored(kind="Cluster", name=name, uid=name, generation=1, created_at=then, updated_at=then, spec=spec)
    )
    old = Command(id="a", driver="rehearsal", issued_at=then, deadline=then, issued_by=name)
    uid = told or f"uid-{name}"
    listed = CommandList(fleet="test", cluster=uid, epoch=1, serial=1, issued_at=then, commands=(old,))
    known.put_commands(ClusterId("main", name), listed)
