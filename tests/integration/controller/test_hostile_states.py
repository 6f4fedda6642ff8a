"""What a cluster must not send leaves its last good state, is told once, and stops nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put
from tests.bus_server import FleetServer
from tests.integration.bus.raw import raw_publisher
from tests.integration.controller.people import CLOCK, Operator, Speaker, controlling, events
from tests.integration.controller.toy import cluster_document
from tests.waiting import wait_until

FACTS = {"kubernetesVersion": "v1.36.3", "nodes": 3}


async def live(operator: Operator, name: str) -> dict[str, Any]:
    rows = (await operator.ask("list", {"kind": "Cluster", "names": [name]}))["rows"]
    found: dict[str, Any] = rows[0]["live"]
    return found


async def test_broken_headers_and_names_stop_nobody(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, c2: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(*(cluster_document(name, fleet.public_key(name)) for name in ("c1", "c2")))
        async with raw_publisher(fleet, "c1") as raw:
            facts = c1.subject("facts").encode()
            await raw.publish(facts, b"{}", block=b"NATS/1.0\r\n\r\n")
            await raw.publish(facts, b"{}", block=b"NATS/1.0 \xff\xfe\r\nA: \xff\r\n\r\n")
            await raw.publish(
                facts, b"x", block=b"NATS/1.0\r\nFleetbus-Removed: 1\r\nKV-Operation: PURGE\r\n\r\n"
            )
            await raw.publish(b"fleet.v1.heartbeat.main.c1", b"\xff\xfe")
        await others_go_on(bus, operator, c2)
        await c1.say("facts", FACTS)
        await c1.beat()

        async def connected() -> bool:
            return (await live(operator, "c1"))["connected"] is True

        assert await wait_until(connected, CLOCK, 10)


async def test_a_refusal_that_stays_is_not_told_again_after_a_restart(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async def told() -> bool:
        return [event.short_type for event in await events(bus)].count("cluster.message-refused") == 1

    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        await c1.bus.put(Put(c1.subject("facts"), b"{}"))
        assert await wait_until(told, CLOCK, 10)
    async with controlling(fleet, tmp_path, "two"):
        await operator.wait_answered()

        async def refused() -> bool:
            return bool((await live(operator, "c1")).get("refused"))

        assert await wait_until(refused, CLOCK, 10)
        await CLOCK.sleep(0.3)
        assert await told()


async def test_a_new_key_makes_right_what_was_refused(
    fleet: FleetServer, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c2")))
        await c1.start()

        async def refused() -> bool:
            return "refused" in await live(operator, "c1")

        async def right() -> bool:
            return "refused" not in await live(operator, "c1")

        assert await wait_until(refused, CLOCK, 10)
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        assert await wait_until(right, CLOCK, 10)


async def others_go_on(bus: NatsBus, operator: Operator, other: Speaker) -> None:
    await other.start()
    await other.happen("bundles-0", 1)
    await other.beat()

    async def heard() -> bool:
        types = [event.short_type for event in await events(bus) if event.source.endswith("/c2")]
        return {"bundle.applied", "cluster.connected"} <= set(types)

    assert await wait_until(heard, CLOCK, 10)
