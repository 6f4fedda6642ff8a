"""Who is there, on virtual time: from advisories, listings and heartbeats, through whatever gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nacl.signing import SigningKey

from fleetbus.controller.decisions.presence import CROWDED_AFTER_S, MOST_TURNS, QUIET_S, SILENT_AFTER_S
from fleetbus.controller.ports import Change, ClusterView, Presence
from fleetbus.controller.presence import LIST_EVERY_S, SETTLE_S, PresenceFollower
from fleetbus.controller.views import Known
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities.clusters import HEARTBEAT_S
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.limits import BEAT_AT_MOST_EVERY_S, FLOOD_OVER_AFTER_S, MESSAGES_PER_S
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.streams import agent_permissions
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import BusFaults, SimulatedBus, SimulatedServer
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate
from tests.unit.controller.fleet import condition

C1 = ClusterId("main", "c1")
KEY = public_key(SigningKey(b"\x01" * 32))
OTHER = public_key(SigningKey(b"\x02" * 32))
SOON_S = 5.0
"""Two listings, a moment apart, and the look after them."""


def cluster(key: str = KEY) -> Stored:
    spec = {"key": key}
    return Stored(
        kind="Cluster", name="c1", uid="u", generation=1, created_at=START, updated_at=START, spec=spec
    )


@dataclass
class World:
    loop: VirtualLoop
    chance: Random
    clock: VirtualClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.loop, self.chance)
        self.server = SimulatedServer(self.clock, self.chance)
        self.controller = self.server.bus("controller")
        self.known = Known("test")
        self.known.put_document(cluster())
        self.told: list[Presence] = []

    def agent(self, key: str = KEY) -> SimulatedBus:
        return self.server.bus("c1", agent_permissions(C1), account="AGENTS_main", user=key)

    async def moment(self) -> None:
        """Until what is on its way is there."""
        await self.clock.sleep(0.01)

    async def beat(self, agent: SimulatedBus) -> None:
        await agent.publish(subjects.heartbeat(C1), b"")
        await self.moment()

    async def beat_for(self, agent: SimulatedBus, seconds: float) -> None:
        until_s = self.clock.monotonic_s() + seconds
        while self.clock.monotonic_s() < until_s:
            await self.beat(agent)
            await self.clock.sleep(HEARTBEAT_S)

    @property
    def view(self) -> ClusterView:
        found = self.known.cluster("c1")
        assert found is not None
        return found

    @property
    def link(self) -> str:
        return self.view.presence.link

    def restored(self, *conditions: tuple[str, str, str]) -> None:
        """What the last controller has written."""
        found = tuple(condition(*one) for one in conditions)
        self.known.put_status(Status(kind="Cluster", name="c1", uid="u", conditions=found))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[PresenceFollower]:
        """A controller, until the block ends; a change of presence is noted."""
        follower = PresenceFollower(self.controller, self.clock, self.known)
        follower.restore()
        self.known.listeners[:] = [follower.changed, self._note]
        task = asyncio.create_task(follower.run())
        await self.clock.sleep(SOON_S)
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _note(self, change: Change) -> None:
        if change.what == "presence":
            self.told.append(self.view.presence)


def run(story: Callable[[VirtualLoop, Random], Coroutine[Any, Any, None]]) -> None:
    for seed in range(3):
        simulate(seed, story)


def test_who_connects_and_leaves_is_known_at_once() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            assert world.link == "disconnected"
            agent = world.agent()
            await world.moment()
            assert (world.link, world.view.presence.responsive) == ("connected", None)
            assert world.view.connection is not None
            assert world.view.connection.server == "simulated"
            await world.beat(agent)
            assert world.view.heard
            agent.go_offline()
            await world.moment()
            assert world.view.presence == Presence("disconnected", responsive=True, left="Client Closed")
            assert not world.view.heard

    run(story)


def test_a_connection_that_follows_before_the_former_ends_is_no_turn() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            first = world.agent()
            await world.beat(first)
            world.told.clear()
            for _ in range(20):
                second = world.agent()
                first.go_offline()
                first = second
                await world.beat(first)
            assert world.told == []

    run(story)


def test_who_stands_still_is_connected_and_not_responsive() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            agent = world.agent()
            await world.beat(agent)
            await world.clock.sleep(SILENT_AFTER_S + SOON_S)
            assert world.view.presence == Presence("connected", responsive=False)
            await world.beat_for(agent, 2 * HEARTBEAT_S)
            assert world.view.presence == Presence("connected", responsive=True)

    run(story)


def test_heartbeats_in_a_flood_are_not_looked_at() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            agent = world.agent()
            await world.beat(agent)
            first = world.view.last_seen_at
            for _ in range(20):
                await world.beat(agent)
            assert world.view.last_seen_at == first
            await world.clock.sleep(BEAT_AT_MOST_EVERY_S)
            await world.beat(agent)
            assert world.view.last_seen_at != first

    run(story)


def test_who_floods_is_told_until_it_has_been_quiet() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            agent = world.agent()
            for _ in range(8 * MESSAGES_PER_S):
                await agent.publish(subjects.heartbeat(C1), b"")
            await world.clock.sleep(SOON_S)
            assert world.view.presence.flooding
            await world.beat_for(agent, FLOOD_OVER_AFTER_S)
            assert not world.view.presence.flooding
            assert [one.flooding for one in world.told].count(True) == 1

    run(story)


def test_a_lost_advisory_is_made_up_for_by_listings() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        world.server.faults = BusFaults(advisories_lost=1.0)
        async with world.following():
            agent = world.agent()
            assert world.link == "disconnected"
            await world.beat(agent)
            await world.clock.sleep(SOON_S)
            assert world.link == "connected"
            agent.go_offline()
            await world.clock.sleep(2 * LIST_EVERY_S)
            assert world.link == "disconnected"

    run(story)


def test_a_new_controller_tells_nothing_that_has_not_happened() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        world.restored(("Connected", "True", "ConnectionOpen"), ("Responsive", "True", "HeartbeatReceived"))
        agent = world.agent()
        for _ in range(3):
            async with world.following():
                world.told.clear()
                await world.beat_for(agent, 3 * HEARTBEAT_S)
                assert world.told == []
        agent.go_offline()
        async with world.following():
            assert world.link == "connected"
            await world.clock.sleep(SETTLE_S)
            assert world.link == "disconnected"

    run(story)


def test_who_was_away_before_is_so_for_a_new_controller_and_tells_nothing() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        world.restored(("Connected", "Unknown", "Disconnected"))
        async with world.following():
            await world.clock.sleep(2 * LIST_EVERY_S)
            assert {one.link for one in world.told} <= {"disconnected"}

    run(story)


def test_when_all_lose_the_bus_together_with_the_controller_nobody_is_told_gone() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            agent = world.agent()
            await world.beat(agent)
            world.told.clear()
            # In the order in which a server that dies tells nobody of anybody.
            world.server.cut(world.controller, 1.0)
            world.server.cut(agent, 5.0)
            await world.clock.sleep(5.1)
            await world.beat_for(agent, 4 * HEARTBEAT_S)
            assert world.told == []

    run(story)


def test_a_link_that_turns_often_is_told_once_and_as_it_is_when_it_is_quiet() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            for _ in range(100):
                agent = world.agent()
                await world.beat(agent)
                agent.go_offline()
                await world.clock.sleep(0.5)
            assert world.link == "flapping"
            links = [one.link for one in world.told]
            assert links.count("flapping") == 1
            assert len(links) <= 2 * MOST_TURNS
            await world.clock.sleep(QUIET_S + SOON_S)
            assert world.link == "disconnected"

    run(story)


def test_more_connections_of_one_key_than_an_agent_needs_are_told_when_they_last() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            agents = [world.agent() for _ in range(3)]
            assert not world.view.presence.crowded
            await world.clock.sleep(CROWDED_AFTER_S + SOON_S)
            assert world.view.presence.crowded
            assert world.view.connections == 3
            agents[0].go_offline()
            await world.moment()
            assert world.view.presence.crowded
            await world.clock.sleep(2 * LIST_EVERY_S)
            assert not world.view.presence.crowded

    run(story)


def test_another_key_is_another_cluster() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        async with world.following():
            stranger = world.agent(OTHER)
            await world.beat(stranger)
            assert world.link == "disconnected"
            assert world.view.last_seen_at is None
            world.known.put_document(cluster(OTHER).model_copy(update={"generation": 2}))
            assert world.link == "connected"

    run(story)


def test_where_no_server_tells_nothing_is_claimed() -> None:
    async def story(loop: VirtualLoop, chance: Random) -> None:
        world = World(loop, chance)
        world.server.tells_connections = False
        async with world.following():
            await world.beat(world.agent())
            await world.clock.sleep(2 * LIST_EVERY_S)
            assert world.view.presence == Presence("unobserved", responsive=False)

    run(story)
