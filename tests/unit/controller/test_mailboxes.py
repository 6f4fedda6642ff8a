"""What the bus's owner does to a mailbox does not last: what was told is told again. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.controller.artifacts import Artifacts
from fleetbus.controller.audit import AuditChain
from fleetbus.controller.command_lists import CommandLists
from fleetbus.controller.fence import Fence
from fleetbus.controller.follow import Follow
from fleetbus.controller.leader import Term, TermRecord
from fleetbus.controller.mailboxes import LOOK_EVERY_S, SPACING_S, Mailboxes
from fleetbus.controller.ports import Capability, ClusterView, Outcome, Section, View
from fleetbus.controller.publish import Publisher
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Command, CommandList, Head
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.signing import signer
from fleetbus.schemas.states import Facts, State
from fleetbus.schemas.streams import DESIRED
from fleetbus.schemas.subjects import ClusterId
from tests.seals import SEAL, sealed
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate

C1 = ClusterId("main", "c1")
MAILBOXES = {"desired": subjects.desired(C1), "command": subjects.command(C1)}
STRANGER = SigningKey(b"\x09" * 32)
COMMAND = Command(
    id="a", driver="rehearsal", issued_at=START, deadline=START + timedelta(days=1), issued_by="ana"
)


async def _nothing(*_: Any) -> Outcome:
    return Outcome()


def _section(cluster: ClusterView, view: View, now: datetime) -> Section | None:
    return Section(1, {"bundles": []})


CAPABILITY = Capability("bundles", "Bundle", _nothing, lambda *_: [], lambda *_: [], section=_section)


class World:
    """One cluster that was told a head and a list, and a controller under its term."""

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.clock = VirtualClock(loop, chance)
        self.server = SimulatedServer(self.clock, chance)
        self.bus = self.server.bus("controller")
        self.known = Known("test")

    @asynccontextmanager
    async def controlling(self) -> AsyncIterator[CommandLists]:
        time = ServerTime(self.clock)
        stored = Stored(
            kind="Cluster",
            name=C1.name,
            uid="doc",
            generation=1,
            created_at=START,
            updated_at=START,
            spec={"key": "U", "uid": "uid-1"},
        )
        await self.bus.put(sealed(subjects.document("cluster", C1.name), stored))
        record = TermRecord(term=1, holder="x", epoch=1)
        fence = Fence(self.bus, Term(1, await self.bus.put(Put(subjects.TERM, record.to_bytes())), 1, None))
        mailboxes = Mailboxes(self.bus, self.clock, self.known, SEAL)
        follow = Follow(self.bus, self.clock, self.known, time, seal=SEAL, doubt=mailboxes.doubt)
        artifacts = Artifacts(self.bus, time)
        publisher = Publisher(
            self.bus, self.clock, self.known, fence, artifacts, [CAPABILITY], SEAL.sign, time
        )
        audit = AuditChain(self.bus, self.clock, "test", SigningKey(b"\x01" * 32))
        statuses = Statuses(self.bus, self.known, self.clock, SEAL)
        lists = CommandLists(self.bus, self.clock, self.known, statuses, fence, SEAL, time, audit)
        running = [asyncio.create_task(follow.run())]
        await follow.ready.wait()
        self.known.listeners += [publisher.changed, lists.changed]
        running += [asyncio.create_task(one()) for one in (publisher.run, lists.run, mailboxes.run)]
        try:
            yield lists
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    def stored(self, which: str) -> Message | None:
        return self.server.streams[DESIRED.name].find(MAILBOXES[which], self.clock.now())

    def told(self, which: str) -> Head | CommandList | None:
        """What a reader believes of what is in the mailbox."""
        found = self.stored(which)
        model = Head if which == "desired" else CommandList
        try:
            return model.from_bytes(SEAL.opened(found.subject, found.data)) if found else None
        except Exception:
            return None

    async def write(self, which: str, data: bytes) -> None:
        """With the power of who owns the bus."""
        await self.bus.put(Put(MAILBOXES[which], data))


Deed = Callable[[World, str, Message], Awaitable[None]]


async def _overwrite(world: World, which: str, first: Message) -> None:
    await world.write(which, b"\xff\xfe")


async def _sign_with_another_key(world: World, which: str, first: Message) -> None:
    content = SEAL.opened(first.subject, first.data)
    await world.write(which, signer(STRANGER)(MAILBOXES[which], content))


async def _put_an_earlier_word_back(world: World, which: str, first: Message) -> None:
    await world.write(which, first.data)


async def _empty(world: World, which: str, first: Message) -> None:
    world.server.streams[DESIRED.name].purge(MAILBOXES[which], world.clock.now())


async def _displaced(
    loop: VirtualLoop, chance: Random, which: str, deed: Deed
) -> tuple[Head | CommandList | None, Head | CommandList | None]:
    """What was told before and what is in the end."""
    world = World(loop, chance)
    async with world.controlling() as lists:
        await lists.change(C1.name, lambda before: (COMMAND,))
        await world.clock.sleep(5)
        first = world.stored(which)
        assert first is not None
        if which == "command":
            await lists.change(C1.name, lambda before: (COMMAND.model_copy(update={"cancelled": True}),))
        else:
            world.known.put_displaced("desired", C1)
        await world.clock.sleep(5)
        before = world.told(which)
        await deed(world, which, first)
        await world.clock.sleep(LOOK_EVERY_S * 2)
        return before, world.told(which)


@pytest.mark.parametrize("which", MAILBOXES)
@pytest.mark.parametrize("deed", [_overwrite, _sign_with_another_key, _put_an_earlier_word_back, _empty])
def test_what_was_displaced_is_told_again(which: str, deed: Deed) -> None:
    before, after = simulate(1, lambda loop, chance: _displaced(loop, chance, which, deed), limit_s=10_000)
    assert before is not None
    assert after is not None
    assert after.serial > before.serial
    if isinstance(before, Head) and isinstance(after, Head):
        assert after.set == before.set
    if isinstance(before, CommandList) and isinstance(after, CommandList):
        assert after.commands == before.commands


def test_what_nobody_displaced_is_not_told_again() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[int, int]:
        world = World(loop, chance)
        async with world.controlling() as lists:
            await lists.change(C1.name, lambda before: (COMMAND,))
            await world.clock.sleep(5)
            last = world.server.streams[DESIRED.name].last
            await world.clock.sleep(LOOK_EVERY_S * 5)
            return last, world.server.streams[DESIRED.name].last

    before, after = simulate(1, scenario, limit_s=10_000)
    assert after == before


def test_who_writes_over_a_mailbox_without_end_is_not_answered_as_often() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[int, bool]:
        world, answers = World(loop, chance), 0
        async with world.controlling():
            await world.clock.sleep(5)
            stream = world.server.streams[DESIRED.name]
            for _ in range(200):
                last = stream.last
                await world.write("desired", b"{}")
                await world.clock.sleep(0.1)
                answers += stream.last - last - 1
            await world.clock.sleep(SPACING_S * 3)
            return answers, world.told("desired") is not None

    answers, stands = simulate(1, scenario, limit_s=10_000)
    assert answers <= 20 / SPACING_S + 2
    assert stands


def test_a_controller_that_starts_and_is_shown_an_earlier_head_learns_better_from_the_agent() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[int, int]:
        world = World(loop, chance)
        async with world.controlling():
            await world.clock.sleep(5)
            first = world.told("desired")
            assert isinstance(first, Head)
            facts = Facts(kubernetes_version="v1", accepted=(first.epoch, first.serial + 3))
            state = State(fleet="test", cluster="c1", uid="uid-1", aspect="facts", serial=1, at=START)
            world.known.put_state(C1.name, state, facts)
            await world.clock.sleep(5)
            after = world.told("desired")
            assert isinstance(after, Head)
            return first.serial + 3, after.serial

    accepted, serial = simulate(1, scenario, limit_s=10_000)
    assert serial > accepted


def test_a_forged_list_is_no_basis_for_the_next_after_a_lost_acknowledgement() -> None:
    forged = COMMAND.model_copy(update={"id": "forged"})

    async def scenario(loop: VirtualLoop, chance: Random) -> list[str]:
        world = World(loop, chance)
        async with world.controlling() as lists:
            await lists.change(C1.name, lambda before: (COMMAND,))
            first = world.told("command")
            assert isinstance(first, CommandList)
            # As after a write of which nobody knows whether it was taken.
            lists._doubtful.add(C1)
            later = first.model_copy(update={"serial": first.serial + 10, "commands": (forged,)})
            await world.write("command", signer(STRANGER)(MAILBOXES["command"], later.to_bytes()))
            another = COMMAND.model_copy(update={"id": "b"})
            await lists.change(C1.name, lambda before: (*before, another))
            told = world.told("command")
            assert isinstance(told, CommandList)
            return [one.id for one in told.commands]

    assert simulate(1, scenario, limit_s=10_000) == ["a", "b"]
