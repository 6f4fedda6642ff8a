"""No cluster drives the others' events out: each has an allowance, and what is beyond it waits. On virtual time."""

from __future__ import annotations

import asyncio
from random import Random

from fleetbus.controller.emit import Allowance, Emitter
from fleetbus.controller.recent import Recent
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.events import MAX_OUTBOX, CloudEvent, Happened, Outbox
from fleetbus.schemas.limits import EVENTS_BURST, EVENTS_PER_S, KIB
from fleetbus.schemas.states import State
from fleetbus.schemas.streams import EVENTS
from tests.seals import SEAL
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate

ORIGINS = 4
ALL = ORIGINS * MAX_OUTBOX


def tell(known: Known, name: str, aspect: str, count: int) -> None:
    happened = [Happened(type="bundle.applied", subject="bundle/b", reason="Applied") for _ in range(count)]
    state = State(
        fleet="test",
        cluster=name,
        uid=f"uid-{name}",
        aspect=aspect,
        serial=1,
        at=START,
        outbox=Outbox().with_(START, *happened),
    )
    known.put_state(name, state, None)


def join(known: Known, name: str) -> None:
    spec = {"key": "U", "uid": f"uid-{name}"}
    document = Stored(
        kind="Cluster", name=name, uid=name, generation=1, created_at=START, updated_at=START, spec=spec
    )
    known.put_document(document)


async def told(bus: Bus, name: str) -> list[CloudEvent]:
    found = await bus.get_many(EVENTS.name, subjects.events_of("main", name), limit=10_000)
    return [CloudEvent.from_bytes(message.data) for message in found]


def test_a_cluster_that_tells_too_much_waits_and_loses_nothing() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> None:
        clock = VirtualClock(loop, chance)
        bus, known = SimulatedServer(clock, chance).bus("controller"), Known("test")
        emitter = Emitter(bus, clock, known, Statuses(bus, known, clock, SEAL), Recent(), ServerTime(clock))
        known.listeners.append(emitter.changed)
        running = asyncio.create_task(emitter.run())
        for name in ("loud", "quiet"):
            join(known, name)
        for number in range(ORIGINS):
            tell(known, "loud", f"bundles-{number}", MAX_OUTBOX)

        began_s, counts = clock.monotonic_s(), []
        while (count := len(await told(bus, "loud"))) < ALL:
            assert count <= EVENTS_BURST + EVENTS_PER_S * (clock.monotonic_s() - began_s) + 1
            counts.append(count)
            if len(counts) == 5:
                tell(known, "quiet", "bundles-0", 1)
            await clock.sleep(30)
            if len(counts) == 5:
                assert len(await told(bus, "quiet")) == 1, "nobody waits for another cluster"
        assert clock.monotonic_s() - began_s < (ALL - EVENTS_BURST) / EVENTS_PER_S + 120

        by_origin: dict[str, list[int]] = {}
        for event in await told(bus, "loud"):
            by_origin.setdefault(event.origin, []).append(event.transition)
        assert list(by_origin.values()) == [list(range(1, MAX_OUTBOX + 1))] * ORIGINS
        running.cancel()
        await asyncio.wait([running])

    simulate(1, scenario)


def test_a_large_event_counts_for_several() -> None:
    """By number alone one cluster could fill EVENTS with large ones, and drive out what the others have told."""
    allowance, count = Allowance(0.0), 0
    while not allowance.take(0.0, 16 * KIB):
        count += 1
    assert count == EVENTS_BURST // 16
    assert allowance.take(0.0, 16 * KIB) <= 16 / EVENTS_PER_S
