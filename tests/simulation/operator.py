"""A person at the command: asks the controller until there is an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetbus.schemas.errors import FleetbusError, Stale, Transient
from tests.simulation.fleet import SimulatedFleet


class Operator:
    """`refusals` collects what was refused, for who wonders about a story."""

    def __init__(self, fleet: SimulatedFleet) -> None:
        self.refusals: list[str] = []
        self._fleet = fleet

    async def ask(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Once. Raises the error that was answered, and BusUnavailable when there was no answer."""
        return await self._fleet.operator.ask(verb, body, timeout_s=25.0)

    async def insist(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Until it is done, for requests that may be repeated; None when it is refused."""
        while True:
            try:
                return await self.ask(verb, body)
            except (Transient, Stale):
                # Stale: a controller that has begun to lead since then wants it asked again.
                await self._fleet.clock.sleep(self._fleet.clock.jitter(2.0))
            except FleetbusError as error:
                self.refusals.append(f"{verb}: {error.sentence()}")
                return None

    async def apply(self, *documents: Mapping[str, Any]) -> None:
        """Again while it is being deleted still."""
        while True:
            if await self.insist("apply", {"documents": [dict(one) for one in documents]}) is not None:
                return
            await self._fleet.clock.sleep(self._fleet.clock.jitter(5.0))

    async def rows(self, kind: str) -> dict[str, dict[str, Any]]:
        """Documents with their status, by name."""
        listed = await self.insist("list", {"kind": kind}) or {}
        return {row["document"]["metadata"]["name"]: row["document"] for row in listed.get("rows", ())}
