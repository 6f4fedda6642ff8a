"""A man in the middle owns the broker for an hour of virtual time, while people change their wishes.

After every step what must always hold is looked at (invariants.py): nothing comes into a cluster that the controller
did not sign for it, what an agent accepted never goes back, a command takes effect once, and nothing that the fleet
writes holds a word of his. When he stops, everything comes to where its operators want it, by itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from random import Random
from unittest.mock import patch

import pytest

from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import CommandList
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.signing import unverified, verify
from fleetbus.schemas.streams import DESIRED, STATE
from tests.simulation import scenario, seeds
from tests.simulation.broker_owner import BrokerOwner, OwnedServer
from tests.simulation.faults import CALM
from tests.simulation.fleet import SimulatedFleet
from tests.simulation.loop import VirtualLoop, simulate
from tests.simulation.operator import Operator
from tests.simulation.scenario import Run
from tests.simulation.seeds import Live
from tests.simulation.story import Story

SEEDS = 3
FOR_S = 3600.0
CHAPTERS = 25
_LIMIT_S = 40_000.0


def owned(seed: int) -> Run:
    async def live(loop: VirtualLoop, chance: Random) -> Run:
        fleet = SimulatedFleet(loop, chance, CALM, server=OwnedServer)
        assert isinstance(fleet.bus, OwnedServer)
        owner, story = BrokerOwner(fleet, fleet.bus), Story(fleet, Operator(fleet))
        try:
            fleet.start()
            await story.begin()
            meddling = asyncio.create_task(owner.meddle(FOR_S))
            for _ in range(CHAPTERS):
                await fleet.clock.sleep(chance.random() * 2 * FOR_S / CHAPTERS / 1.2)
                await story.act()
            await meddling
            await _nothing_is_left(fleet, fleet.bus)
            settled_s = await scenario.settle(fleet, story)
            _each_order_was_taken_once(fleet.bus)
        except BaseException as error:
            error.add_note("\n".join((str(dict(owner.deeds)), *story.told)))
            raise
        await fleet.stop()
        lives = sum(slot.lives for slot in fleet.slots)
        return Run(seed, loop.time(), loop.steps, lives, len(fleet.invariants.events), settled_s)

    return simulate(seed, live, limit_s=_LIMIT_S)


def _each_order_was_taken_once(server: OwnedServer) -> None:
    """However often he played it again."""
    commands = {
        (command.id, str(command.arguments.get("message")))
        for subject, stored in server.recorded.items()
        if subjects.matches(subjects.ALL_COMMANDS, subject)
        for message in stored
        for command in CommandList.from_bytes(unverified(message.data)).commands
    }
    markers = Counter(marker for _, marker in commands)
    assert [marker for marker, count in markers.items() if count > 1] == []


async def _nothing_is_left(fleet: SimulatedFleet, server: OwnedServer) -> None:
    """What he wrote over has been written again, or taken away. AssertionError when it takes too long.

    What he put where nobody has ever written lies there, unread.
    """
    until_s = fleet.clock.monotonic_s() + scenario.SETTLED_WITHIN_S
    while left := [
        one.subject
        for one in _stored(fleet)
        if server.recorded.get(one.subject) and not _is_signed(fleet, one)
    ]:
        assert fleet.clock.monotonic_s() < until_s, left
        await fleet.clock.sleep(30.0)


def _stored(fleet: SimulatedFleet) -> list[Message]:
    now = fleet.clock.now()
    return [
        *fleet.bus.streams[STATE.name].last_per_subject(">", now),
        *fleet.bus.streams[DESIRED.name].last_per_subject(subjects.ALL_HEADS, now),
        *fleet.bus.streams[DESIRED.name].last_per_subject(subjects.ALL_COMMANDS, now),
    ]


def _is_signed(fleet: SimulatedFleet, message: Message) -> bool:
    try:
        verify(message.subject, message.data, fleet.signers)
    except FleetbusError:
        return False
    return True


def test_who_owns_the_broker_moves_nothing_and_leaves_nothing_behind() -> None:
    runs = list(seeds.live_through(owned, range(SEEDS)))
    print(seeds.summary(runs))
    assert not (broken := seeds.failures(runs)), broken


def _believed(subject: str, envelope: bytes, keys: Iterable[str], **_: int) -> bytes:
    """In place of the check of a signature."""
    return unverified(envelope)


def believed_by_agents(seed: int) -> Run:
    with patch("fleetbus.agent.desired.verify", _believed):
        return owned(seed)


def believed_by_the_controller(seed: int) -> Run:
    with patch("fleetbus.controller.verification.verify", _believed):
        return owned(seed)


@pytest.mark.parametrize("variant", [believed_by_agents, believed_by_the_controller])
def test_without_a_check_of_signatures_he_would_be_noticed(variant: Live) -> None:
    assert [run for run in seeds.live_through(variant, range(2)) if run.problem] != []
