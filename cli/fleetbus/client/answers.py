"""Whose answers count: the controller's, by keys that the context knows and by what the fleet's root has said since."""

from __future__ import annotations

from dataclasses import dataclass

from fleetbus.client.context import Context
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import requests
from fleetbus.schemas.api import Answer
from fleetbus.schemas.charter import Sealed
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, NotPermitted, Refused, SignatureRefused


@dataclass(slots=True)
class Answers:
    """Without keys whatever answers is believed. A newer charter is looked for when none of them fits."""

    keys: frozenset[str] = frozenset()
    root: str = ""
    fleet: str = ""
    charter: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, context: Context) -> Answers:
        return cls(frozenset(context.signing_keys), context.root, context.fleet, context.charter)

    async def read(self, bus: Bus, data: bytes, verb: str, id: str) -> Answer:
        """What the controller has answered to the request of this id.

        Raises SignatureRefused when it was somebody else, MessageMalformed, MessageTooNew.
        """
        try:
            return requests.read_answer(data, verb, id, self.keys)
        except (SignatureRefused, MessageMalformed) as error:
            if await self._has_newer(bus):
                return await self.read(bus, data, verb, id)
            raise SignatureRefused(
                f"what answers is not this fleet's controller: {error.message}",
                where=error.where,
                remedy="take the context from the fleet's owner again; if that does not help, somebody else answers",
            ) from error

    async def _has_newer(self, bus: Bus) -> bool:
        """Whether the root has named other keys since, which count from now on."""
        found = await self._said(bus) if self.root else None
        if found is None or found.charter.order <= self.charter:
            return False
        self.keys, self.charter = frozenset(found.charter.publish), found.charter.order
        return True

    async def _said(self, bus: Bus) -> Sealed | None:
        try:
            return await read_charter(bus, self.root, self.fleet)
        except (BusUnavailable, NotPermitted, Refused):
            return None
