"""Events exactly once and in order, wherever a controller dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from fleetbus.controller.emit import FLEET_CHAIN, Emitter
from fleetbus.controller.recent import Recent
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import subjects
from fleetbus.schemas.events import Happened, emitted_in
from fleetbus.schemas.streams import EVENTS, STATUS
from tests.bus_server import FleetServer
from tests.integration.controller.people import (
    CLOCK,
    FLEET,
    Operator,
    Speaker,
    controlling,
    events,
    is_in_order,
)
from tests.integration.controller.toy import bundle_document, cluster_document
from tests.seals import SEAL, status_in
from tests.waiting import wait_until


async def test_transitions_of_states_and_statuses_become_events_once(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")), bundle_document("web"))
        await c1.start()
        await c1.beat()
        await c1.happen("bundles-0", 1, 2)
        await c1.happen("bundles-1", 3)
        await c1.happen("bundles-0", 4)

        async def all_there() -> bool:
            types = [event.short_type for event in await events(bus)]
            return types.count("bundle.applied") == 4 and {"cluster.connected", "bundle.placed"} <= set(types)

        assert await wait_until(all_there, CLOCK, 10)
        last = await bus.get_last(EVENTS.name, subjects.events_of("main", "c1"))
        assert last is not None
        assert emitted_in(last.headers) == {"uid-1/bundles-0": 3, "uid-1/bundles-1": 1}
        await trimmed(bus)
    assert is_in_order(await events(bus))


async def test_a_subscriber_sees_stored_events_with_their_sequence(
    fleet: FleetServer, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with (
        controlling(fleet, tmp_path),
        fleet.bus("subscriber") as subscriber,
        subscriber.subscribe(subjects.events_matching("bundle.applied")) as seen,
    ):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        await c1.start()
        await c1.happen("bundles-0", 1, 2)
        async with asyncio.timeout(10):
            sequences = [(await anext(seen)).sequence, (await anext(seen)).sequence]
    assert 0 < sequences[0] < sequences[1]


@pytest.mark.parametrize("seed", range(3))
async def test_killed_controllers_neither_lose_nor_double_events(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, c2: Speaker, tmp_path: Path, seed: int
) -> None:
    """Two speakers go on while controllers are killed at any point; the outboxes are never trimmed by them."""
    chance = Random(seed)
    async with controlling(fleet, tmp_path, "setup"):
        await operator.wait_answered()
        documents = [cluster_document(name, fleet.public_key(name)) for name in ("c1", "c2")]
        await operator.apply(*documents, *(bundle_document(f"b{number}") for number in range(5)))

    async def speak(speaker: Speaker) -> None:
        await speaker.start()
        for number in range(30):
            await speaker.happen(f"bundles-{number % 4}", number)
            await CLOCK.sleep(0.02)

    async def kill_again_and_again() -> None:
        for life in range(6):
            gone = [f"life-{life - 1}", "setup"]
            async with controlling(fleet, tmp_path, f"life-{life}", gone=gone) as controller:
                while not controller.terms:
                    await CLOCK.sleep(0.01)
                await CLOCK.sleep(chance.uniform(0.02, 0.4))
                await controller.kill()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kill_again_and_again())
        tasks.create_task(speak(c1))
        tasks.create_task(speak(c2))

    async with controlling(fleet, tmp_path, "last", gone=["life-5"]):

        async def all_there() -> bool:
            return [event.short_type for event in await events(bus)].count("bundle.applied") >= 60

        assert await wait_until(all_there, CLOCK, 20)
        await trimmed(bus)
        await CLOCK.sleep(0.3)
    found = await events(bus)
    assert is_in_order(found)
    assert [event.short_type for event in found].count("bundle.applied") == 60
    assert len({event.id for event in found}) == len(found)


class Dies(Exception):
    pass


async def test_a_kill_between_emission_and_trimming_doubles_nothing(bus: NatsBus, fleet: FleetServer) -> None:
    """The event is stored, the status still holds its transition: the next controller knows it from the chain."""
    for trims in (False, True):
        key = ("Fleet", f"a{trims}".lower())
        await _write(bus, key, "first", "second")
        emitter = await _emitter(bus, key)
        if not trims:
            emitter._trim = _dying  # type: ignore[assignment, method-assign]
        try:
            await emitter._drain(FLEET_CHAIN)
        except Dies:
            assert not trims
    again = await _emitter(bus, ("Fleet", "afalse"))
    await again._drain(FLEET_CHAIN)
    found = await events(bus)
    assert [event.data["reason"] for event in found] == ["first", "second"] * 2
    assert is_in_order(found)


async def test_a_lost_acknowledgement_doubles_nothing(bus: NatsBus, fleet: FleetServer) -> None:
    """Somebody wrote to the chain meanwhile: the emitter reads it anew and goes on behind it."""
    key = ("Fleet", "a")
    await _write(bus, key, "first")
    one, two = await _emitter(bus, key), await _emitter(bus, key)
    await one._read(FLEET_CHAIN)
    await two._drain(FLEET_CHAIN)
    with pytest.raises(Exception, match="wrong last sequence"):
        await one._drain(FLEET_CHAIN)
    await one._drain(FLEET_CHAIN)
    assert len(await events(bus)) == 1


async def _dying(*_: object) -> None:
    raise Dies


async def _write(bus: NatsBus, key: tuple[str, str], *reasons: str) -> None:
    known = Known(FLEET)
    statuses = Statuses(bus, known, CLOCK, SEAL)
    happened = [Happened(type="fleet.tried", subject="fleet/x", reason=reason) for reason in reasons]
    await statuses.add(key, f"uid-{key[1]}", *happened)


async def _emitter(bus: NatsBus, key: tuple[str, str]) -> Emitter:
    """A new controller's emitter: it knows what STATUS holds."""
    known = Known(FLEET)
    subject = subjects.status(key[0].lower(), key[1])
    last = await bus.get_last(STATUS.name, subject)
    assert last is not None
    known.newer(subject, last.sequence)
    known.put_status(status_in(last))
    emitter = Emitter(bus, CLOCK, known, Statuses(bus, known, CLOCK, SEAL), Recent(), ServerTime(CLOCK))
    emitter._pending_keys[key] = None
    return emitter


async def trimmed(bus: NatsBus) -> None:
    async def empty() -> bool:
        found = await bus.get_many(STATUS.name, subjects.ALL_STATUSES)
        return all(status_in(message).outbox.pending == () for message in found)

    assert await wait_until(empty, CLOCK, 5)
