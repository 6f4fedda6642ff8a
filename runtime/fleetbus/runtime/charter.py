"""The charter as it stands on the bus: one read, believed by the root's signature alone."""

from __future__ import annotations

from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import Sealed, opened
from fleetbus.schemas.streams import DESIRED


async def read_charter(bus: Bus, root: str, fleet: str) -> Sealed | None:
    """None for nothing. Raises BusUnavailable; NotPermitted on a bus from before there were charters; Refused."""
    message = await bus.get_last(DESIRED.name, subjects.CHARTER)
    return opened(message.data, root, fleet) if message is not None else None
