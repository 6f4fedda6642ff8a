"""The faults of the simulated bus do what their names say, on virtual time, and replay from a seed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from random import Random

import pytest

from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import BusFaults, SimulatedServer
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

C1 = ClusterId("main", "c1")
HEAD = subjects.desired(C1)


def server_on(loop: VirtualLoop, chance: Random, faults: BusFaults | None = None) -> SimulatedServer:
    return SimulatedServer(VirtualClock(loop, chance), chance, faults)


async def nudges_of(server: SimulatedServer, writes: int, wait_s: float = 30.0) -> list[int]:
    """The sequences in the nudges that come within `wait_s` of so many writes."""
    controller, agent = server.bus("controller"), server.bus("agent")
    seen: list[int] = []
    async with agent.subscribe(subjects.nudges(C1)) as nudges:
        for number in range(writes):
            await controller.put(Put(HEAD, b"%d" % number))
        try:
            async with asyncio.timeout(wait_s):
                async for nudge in nudges:
                    seen.append(nudge.sequence)
        except TimeoutError:
            pass
    return seen


def test_without_faults_each_write_nudges_once_in_order() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[int]:
        return await nudges_of(server_on(loop, chance), 50)

    assert simulate(1, scenario) == list(range(1, 51))


def test_nudges_get_lost_late_and_doubled() -> None:
    faults = BusFaults(nudges_lost=0.2, nudges_late=0.3, nudges_doubled=0.2)

    async def scenario(loop: VirtualLoop, chance: Random) -> list[int]:
        return await nudges_of(server_on(loop, chance, faults), 200)

    seen = simulate(1, scenario)
    assert len(set(seen)) < 200
    assert len(seen) > len(set(seen))
    assert seen != sorted(seen)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    faults = BusFaults(nudges_lost=0.2, nudges_late=0.3, nudges_doubled=0.2)

    async def scenario(loop: VirtualLoop, chance: Random) -> list[int]:
        return await nudges_of(server_on(loop, chance, faults), 100)

    assert simulate(5, scenario) == simulate(5, scenario)
    assert simulate(5, scenario) != simulate(6, scenario)


def test_a_lagging_replica_answers_with_an_older_value_and_catches_up() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[list[int]]:
        server = server_on(loop, chance, BusFaults(lagging=0.5, lag_s=2.0))
        bus = server.bus("controller")
        soon, late = [], []
        for number in range(50):
            await bus.put(Put(HEAD, b"%d" % number))
            message = await bus.get_last("DESIRED", HEAD)
            soon.append(int(message.data) if message else -1)
            await asyncio.sleep(0.5)
        await asyncio.sleep(2.1)
        for _ in range(20):
            message = await bus.get_last("DESIRED", HEAD)
            late.append(int(message.data) if message else -1)
        return [soon, late]

    soon, late = simulate(2, scenario)
    assert any(value < number for number, value in enumerate(soon))
    assert set(late) == {49}


def test_a_client_on_a_server_that_is_cut_off_reads_old_values_until_it_connects_elsewhere() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> None:
        server = server_on(loop, chance)
        controller, agent = server.bus("controller"), server.bus("agent")
        await controller.put(Put(HEAD, b"old"))
        await asyncio.sleep(1)
        server.freeze(agent)
        await asyncio.sleep(1)
        await controller.put(Put(HEAD, b"new"))
        before = await agent.get_last("DESIRED", HEAD)
        with pytest.raises(BusUnavailable):
            await agent.put(Put(subjects.state(C1, "facts"), b""))
        seen = agent.connection
        await agent.reconnect()
        await agent.connection_changed(seen)
        after = await agent.get_last("DESIRED", HEAD)
        assert before is not None
        assert after is not None
        assert (before.data, after.data) == (b"old", b"new")

    simulate(3, scenario)


def test_a_write_whose_acknowledgement_is_lost_is_stored() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> None:
        bus = server_on(loop, chance, BusFaults(unacknowledged=1.0)).bus("controller")
        with pytest.raises(BusUnavailable):
            await bus.put(Put(HEAD, b"1"))
        assert await bus.get_last("DESIRED", HEAD) is not None

    simulate(4, scenario)


def test_a_cut_client_misses_what_is_live_and_its_follower_misses_nothing() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[int], list[int]]:
        server = server_on(loop, chance)
        writer, reader = server.bus("writer"), server.bus("reader")
        followed: list[int] = []
        live: list[int] = []

        async def follow() -> None:
            async with aclosing(reader.follow("EVENTS", subjects.ALL_EVENTS)) as items:
                async for item in items:
                    if isinstance(item, Message):
                        followed.append(item.sequence)

        async def listen() -> None:
            async with reader.subscribe(subjects.ALL_EVENTS) as events:
                async for event in events:
                    live.append(event.sequence)

        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(follow()), tasks.create_task(listen())]
            await asyncio.sleep(1)
            for number in range(30):
                if number == 10:
                    server.cut(reader, 5.0)
                    with pytest.raises(BusUnavailable):
                        await reader.get_last("EVENTS", subjects.ALL_EVENTS)
                await writer.put(Put(subjects.emit("main", "c1", "bundle.applied"), b""))
                await asyncio.sleep(0.5)
            assert reader.connection == 2
            for task in readers:
                task.cancel()
        return followed, live

    followed, live = simulate(5, scenario)
    assert followed == list(range(1, 31))
    assert len(live) < 30


def test_calls_find_the_connection_cut_and_it_comes_back() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> int:
        bus = server_on(loop, chance, BusFaults(cuts=0.3)).bus("controller")
        failed = 0
        for _ in range(50):
            try:
                await bus.put(Put(HEAD, b""))
            except BusUnavailable:
                failed += 1
                await bus.wait_connected()
        return failed

    assert simulate(6, scenario) > 5
