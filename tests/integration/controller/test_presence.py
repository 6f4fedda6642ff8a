"""Presence on a real server: what it tells of connections becomes conditions and events."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetbus.controller.catalogue import CAPABILITIES
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Subscription
from fleetbus.schemas import presence_subjects
from tests.bus_server import FleetServer
from tests.followed import followed
from tests.integration.controller.beating import beating
from tests.integration.controller.people import CLOCK, Operator, Speaker, controlling, events
from tests.integration.controller.toy import cluster_document
from tests.waiting import wait_until


@dataclass
class Seen:
    """What an operator sees of c1."""

    operator: Operator

    async def condition(self, type_: str) -> dict[str, Any]:
        found = await self.operator.ask("describe", {"kind": "cluster", "name": "c1"})
        conditions = found["document"].get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type_), {})

    async def until(self, type_: str, reason: str, timeout_s: float = 20.0) -> dict[str, Any]:
        async def is_so() -> bool:
            return (await self.condition(type_)).get("reason") == reason

        assert await wait_until(is_so, CLOCK, timeout_s), await self.condition(type_)
        return await self.condition(type_)


async def registered(fleet: FleetServer, operator: Operator, c1: Speaker) -> Seen:
    """c1 is a member and has reported; the connection over which it did so has ended."""
    await operator.wait_answered()
    await operator.apply(cluster_document("c1", fleet.public_key("c1")))
    await c1.start()
    await c1.say("facts", {"kubernetesVersion": "v1.36.3", "nodes": 3})
    assert isinstance(c1.bus, NatsBus)
    await c1.bus.__aexit__(None, None, None)
    return Seen(operator)


async def told(bus: NatsBus) -> list[str]:
    return [event.short_type for event in await events(bus)]


async def test_a_killed_agent_is_disconnected_and_one_that_stands_still_is_cut_off(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, capabilities=CAPABILITIES):
        seen = await registered(fleet, operator, c1)
        await seen.until("Connected", "Disconnected")
        async with beating(fleet, "c1", tmp_path) as process:
            await seen.until("Responsive", "HeartbeatReceived")
            assert (await seen.condition("Connected"))["status"] == "True"
            process.send_signal(signal.SIGKILL)
            found = await seen.until("Connected", "Disconnected")
            assert "Client Closed" in found["message"]
        async with beating(fleet, "c1", tmp_path) as process:
            await seen.until("Responsive", "HeartbeatReceived")
            process.send_signal(signal.SIGSTOP)
            found = await seen.until("Connected", "Disconnected")
            assert "Stale Connection" in found["message"]
        assert (await told(bus))[-3:] == [
            "cluster.disconnected",
            "cluster.connected",
            "cluster.disconnected",
        ]


async def test_another_controller_tells_nothing_that_has_not_happened(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with beating(fleet, "c1", tmp_path):
        async with controlling(fleet, tmp_path, "one", capabilities=CAPABILITIES) as one:
            seen = await registered(fleet, operator, c1)
            await seen.until("Responsive", "HeartbeatReceived")
            before = await told(bus)
            await one.kill()
        async with controlling(fleet, tmp_path, "two", gone=["one"], capabilities=CAPABILITIES):
            await operator.wait_answered()
            seen_again = await operator.ask("describe", {"kind": "cluster", "name": "c1"})
            assert seen_again["live"]["connected"]

            async def has_looked() -> bool:
                found = await operator.ask("describe", {"kind": "cluster", "name": "c1"})
                return bool(found["live"]["connections"])

            assert await wait_until(has_looked, CLOCK, 20)
            await seen.until("Connected", "ConnectionOpen")
            await seen.until("Responsive", "HeartbeatReceived")
            assert await told(bus) == before


class Unadvised(NatsBus):
    """A controller's connection on which every advisory is lost."""

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", capacity: int = 4096
    ) -> AsyncIterator[Subscription]:
        nowhere = presence_subjects.presence("nowhere", "connect")
        wanted = nowhere if subject == presence_subjects.ALL_PRESENCE else subject
        async with super().subscribe(wanted, queue=queue, capacity=capacity) as subscription:
            yield subscription


async def test_a_lost_advisory_is_made_up_for_by_a_listing(fleet: FleetServer, tmp_path: Path) -> None:
    async with Unadvised(fleet.settings("controller"), CLOCK) as bus:
        await bus.wait_connected()
        async with followed(bus, fleet.public_key("c1")) as found:
            await found.until("disconnected", 0)
            async with beating(fleet, "c1", tmp_path):
                await found.until("connected", 1)
                assert found.view.connection is not None
                assert found.view.connection.server == "test-1"
