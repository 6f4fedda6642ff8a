"""A cluster that floods is told, while it does; what its neighbour reports is seen once it has ended."""

from __future__ import annotations

from pathlib import Path

from fleetbus.controller.catalogue import CAPABILITIES
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.errors import FleetbusError
from tests.bus_server import FleetServer
from tests.integration.controller.beating import beating
from tests.integration.controller.people import CLOCK, Operator, Speaker, controlling, events
from tests.integration.controller.toy import cluster_document
from tests.waiting import wait_until


async def test_who_floods_is_told_and_what_others_report_is_seen_once_it_ends(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, c2: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, capabilities=CAPABILITIES):
        await operator.wait_answered()
        for name in ("c1", "c2"):
            await operator.apply(cluster_document(name, fleet.public_key(name)))
        await c1.start()
        await c1.say("facts", {"kubernetesVersion": "v1.36.3", "nodes": 3})
        async with beating(fleet, "c1", tmp_path, flood=True):

            async def told() -> bool:
                return "cluster.flooding" in [event.short_type for event in await events(bus)]

            assert await wait_until(told, CLOCK, 40)
        await _reports(c2)

        async def seen() -> bool:
            found = await operator.ask("describe", {"kind": "cluster", "name": "c2"})
            return bool(found["document"]["status"]["details"].get("nodes") == 4)

        assert await wait_until(seen, CLOCK, 30)


async def _reports(speaker: Speaker) -> None:
    """As an agent does: again, when the stream has no room for a moment."""

    async def said() -> bool:
        try:
            await speaker.start()
            await speaker.say("facts", {"kubernetesVersion": "v1.36.3", "nodes": 4})
        except FleetbusError:
            return False
        return True

    assert await wait_until(said, CLOCK, 30)
