"""The charter on the bus: put there under the term, so that every cluster can read it, and never an older one."""

from __future__ import annotations

import structlog

from fleetbus.controller.audit import AuditChain, Author, Entry
from fleetbus.controller.fence import Fence
from fleetbus.controller.leader import TAKE_NEWEST
from fleetbus.controller.mandate import expect_named
from fleetbus.controller.views import Known
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import NUDGED, Sealed, newest
from fleetbus.schemas.errors import Refused, SettingsInvalid

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
    there = await _stored(bus, fleet, root)
    if there is not None and there.charter.order >= ours.charter.order:
        return False
    charter = ours.charter
    # The record first: of what was told there must be one, and a second one does no harm.
    certificates = charter.authorities.count("-----BEGIN CERTIFICATE-----")
    said = f"charter {charter}: authorities {certificates}, keys {', '.join(charter.publish)}"
    await audit.write((), [Entry(_BY, "fleet", message=said)])
    await fence.put([(subjects.CHARTER, ours.envelope)])
    _log.info("charter published", charter=str(charter), keys=charter.publish)
    return True


async def nudge_all(bus: Bus, known: Known) -> None:
    """That there is another charter. Raises BusUnavailable; whoever is not reached looks by itself before long."""
    for cluster in known.clusters():
        await bus.publish(subjects.nudge(cluster.id, NUDGED), b"")


async def _stored(bus: Bus, fleet: str, root: str) -> Sealed | None:
    try:
        return await read_charter(bus, root, fleet)
    except Refused as error:
        _log.warning("what stands in the charter's place is left out", reason=error.sentence())
        return None
