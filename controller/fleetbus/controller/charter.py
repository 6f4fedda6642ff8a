"""The charter on the bus: put there under the term, so that every cluster can read it, and never an older one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import structlog

from fleetbus.controller.audit import AuditChain, Author, Entry
from fleetbus.controller.fence import Fence
from fleetbus.controller.leader import TAKE_NEWEST
from fleetbus.controller.mandate import expect_named
from fleetbus.controller.views import Known
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import NUDGED, Sealed, newest
from fleetbus.schemas.errors import Refused, SettingsInvalid
from fleetbus.schemas.streams import DESIRED

LOOK_EVERY_S = 600.0
SPACING_S = 2.0
"""At least so long between two looks: who writes over it without end is not answered as often."""

_BY = Author("fleet:root", "charter")

_log = structlog.get_logger("controller")


async def agreed(bus: Bus, fleet: str, root: str, epoch: int, key: str, own: Sealed | None) -> Sealed | None:
    """The newest of the controller's own and the bus's. Raises SettingsInvalid, BusUnavailable.

    One that is newer than the controller's own is the root's word all the same: a controller that it does not name,
    such as one from a backup or a stolen copy of this, signs nothing that anybody obeys, and says so.
    """
    there = await _stored(bus, fleet, root) if root else None
    found = newest(own, there)
    if found is None:
        return None
    expect_named(key, found.charter)
    if found.charter.epoch != epoch:
        raise SettingsInvalid(
            f"this controller has epoch {epoch}, the root's charter says {found.charter.epoch}",
            remedy=TAKE_NEWEST,
        )
    return found


async def publish_charter(
    bus: Bus, fence: Fence, audit: AuditChain, fleet: str, root: str, ours: Sealed
) -> bool:
    """Whether it was not there before; then there is a record of it. Raises SequenceConflict, BusUnavailable."""
    if await _stands(bus, fleet, root, ours):
        return False
    charter = ours.charter
    # The record first: of what was told there must be one, and a second one does no harm.
    certificates = charter.authorities.count("-----BEGIN CERTIFICATE-----")
    said = f"charter {charter}: authorities {certificates}, keys {', '.join(charter.publish)}"
    await audit.write((), [Entry(_BY, "fleet", message=said)])
    await fence.put([(subjects.CHARTER, ours.envelope)])
    _log.info("charter published", charter=str(charter), keys=charter.publish)
    return True


async def keep_published(
    bus: Bus, clock: Clock, fence: Fence, known: Known, root: str, ours: Sealed, *, is_news: bool
) -> None:
    """For ever: who owns the bus can write over the charter or take it away, and then nobody hears the root.

    `is_news`: the clusters have not been nudged to read it yet.
    """
    due, is_heard = asyncio.Event(), not is_news

    async def step() -> float:
        nonlocal is_heard
        due.clear()
        if not await _stands(bus, known.fleet, root, ours):
            await fence.put([(subjects.CHARTER, ours.envelope)])
            _log.warning("charter put back", charter=str(ours.charter))
            is_heard = False
        if not is_heard:
            await _nudge_all(bus, known)
            is_heard = True
        return clock.jitter(LOOK_EVERY_S)

    async def wake() -> None:
        await due.wait()

    async def follow() -> None:
        async with aclosing(bus.follow(DESIRED.name, subjects.CHARTER)) as items:
            async for _ in items:
                due.set()
                await clock.sleep(clock.jitter(SPACING_S))

    async with asyncio.TaskGroup() as group:
        group.create_task(repeat("charter", step, clock, wake=wake))
        group.create_task(repeat("charter-writes", follow, clock))


async def _nudge_all(bus: Bus, known: Known) -> None:
    """That there is another charter. Raises BusUnavailable; whoever is not reached looks by itself before long."""
    for cluster in known.clusters():
        await bus.publish(subjects.nudge(cluster.id, NUDGED), b"")


async def _stands(bus: Bus, fleet: str, root: str, ours: Sealed) -> bool:
    """Whether this charter is on the bus, or a newer one."""
    there = await _stored(bus, fleet, root)
    return there is not None and there.charter.order >= ours.charter.order


async def _stored(bus: Bus, fleet: str, root: str) -> Sealed | None:
    try:
        return await read_charter(bus, root, fleet)
    except Refused as error:
        _log.warning("what stands in the charter's place is left out", reason=error.sentence())
        return None
