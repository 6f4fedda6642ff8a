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
from fleetbus.runtime.ports import Put
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
        lists = CommandLists(
            bus,
            clock,
            known,
            Statuses(bus, known, clock, SEAL),
            Fence(bus, term),
            SEAL,
            ServerTime(clock),
            AuditChain(bus, clock, "test", SigningKey(b"\x01" * 32)),
        )
        tidying = asyncio.create_task(lists.tidy())
        await clock.sleep(2000)
        done = tidying.done()
        tidying.cancel()
        await asyncio.wait([tidying])
        return done, len(known.command_lists[ClusterId("main", "good")].commands)

    assert simulate(1, scenario) == (False, 0)


def put_cluster(known: Known, name: str) -> None:
    """A cluster with one command that was over long ago."""
    then = START - timedelta(days=1)
    spec = {"key": "U", "uid": f"uid-{name}"}
    known.put_document(
        Stored(kind="Cluster", name=name, uid=name, generation=1, created_at=then, updated_at=then, spec=spec)
    )
    old = Command(id="a", driver="rehearsal", issued_at=then, deadline=then, issued_by=name)
    told = CommandList(
        fleet="test", cluster=f"uid-{name}", epoch=1, serial=1, issued_at=then, commands=(old,)
    )
    known.put_commands(ClusterId("main", name), told)
