"""Events of statuses, each once, however often their trimming fails. On virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest

from fleetbus.controller.emit import FLEET_CHAIN, Emitter
from fleetbus.controller.recent import Recent
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Amend, Statuses
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.events import CloudEvent, Happened, emitted_in
from fleetbus.schemas.streams import EVENTS, STATUS
from tests.seals import SEAL, status_in
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

COUNT = 264


class FailingStatuses(Statuses):
    """Statuses whose writes fail by `chance`."""

    chance: Random
    failures: float

    async def amend(self, key: tuple[str, str], amend: Amend) -> Status | None:
        if self.chance.random() < self.failures:
            raise BusUnavailable("no acknowledgement came")
        return await super().amend(key, amend)


async def emitter(bus: Bus, clock: VirtualClock, chance: Random, failures: float) -> Emitter:
    """A new controller's: it knows what STATUS holds."""
    known = Known("test")
    for message in await bus.get_many(STATUS.name, subjects.ALL_STATUSES, limit=10_000):
        known.newer(message.subject, message.sequence)
        known.put_status(status_in(message))
    statuses = FailingStatuses(bus, known, clock, SEAL)
    statuses.chance, statuses.failures = chance, failures
    made = Emitter(bus, clock, known, statuses, Recent(), ServerTime(clock))
    known.listeners.append(made.changed)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_failing_trims_double_no_event(seed: int) -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[str], int, int]:
        clock = VirtualClock(loop, chance)
        bus = SimulatedServer(clock, chance).bus("controller")
        statuses = Statuses(bus, Known("test"), clock, SEAL)
        for number in range(COUNT):
            happened = Happened(type="fleet.tried", subject="fleet/x", reason=f"r{number}")
            await statuses.add(("Bundle", f"b{number}"), f"uid-{number}", happened)
        for failures in (1.0, 0.7, 1.0, 0.3, 0.7, 0.0):
            task = asyncio.create_task((await emitter(bus, clock, chance, failures)).run())
            await clock.sleep(20)
            task.cancel()
            await asyncio.wait([task])
        stored = await bus.get_many(EVENTS.name, subjects.ALL_EVENTS, limit=10_000)
        left = await bus.get_many(STATUS.name, subjects.ALL_STATUSES, limit=10_000)
        marks = max(len(emitted_in(message.headers)) for message in stored)
        pending = sum(len(status_in(message).outbox.pending) for message in left)
        return [CloudEvent.from_bytes(message.data).id for message in stored], pending, marks

    ids, pending, marks = simulate(seed, scenario)
    assert sorted(ids) == sorted({f"uid-{number}.1" for number in range(COUNT)})
    assert pending == 0
    assert marks <= 200


def test_one_status_that_is_never_trimmed_holds_up_no_other() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> int:
        clock = VirtualClock(loop, chance)
        bus = SimulatedServer(clock, chance).bus("controller")
        statuses = Statuses(bus, Known("test"), clock, SEAL)
        for number in range(COUNT):
            happened = Happened(type="fleet.tried", subject="fleet/x", reason=f"r{number}")
            await statuses.add(("Bundle", f"b{number}"), f"uid-{number}", happened)
        one = await emitter(bus, clock, chance, 0.0)
        one._pending_keys = dict.fromkeys(one._known.view().statuses)
        trim = one._trim

        async def stuck(key: tuple[str, str], uid: str, emitted: int) -> None:
            if uid == "uid-7":
                raise BusUnavailable("never")
            await trim(key, uid, emitted)

        one._trim = stuck  # type: ignore[method-assign]
        for _ in range(10):
            with suppress(BusUnavailable):
                await one._drain(FLEET_CHAIN)
        return len(await bus.get_many(EVENTS.name, subjects.ALL_EVENTS, limit=10_000))

    assert simulate(1, scenario) == COUNT
