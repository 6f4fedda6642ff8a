"""From a document to a head: published once, again when it differs, and not at a restart."""

from __future__ import annotations

from pathlib import Path

from fleetbus.controller.artifacts import Artifacts
from fleetbus.controller.server_time import ServerTime
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import verify
from tests.bus_server import FleetServer
from tests.integration.controller.people import (
    CLOCK,
    SIGNING_KEY,
    Operator,
    Speaker,
    controlling,
    events,
    head_of,
)
from tests.integration.controller.toy import bundle_document, cluster_document
from tests.waiting import wait_until


async def test_a_bundle_reaches_the_mailbox_of_its_cluster(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        verbs = await operator.apply(
            cluster_document("c1", fleet.public_key("c1"), "uid-1"), bundle_document("web")
        )
        assert verbs == ["created", "created"]
        artifacts = Artifacts(bus, ServerTime(CLOCK))

        async def told() -> list[str]:
            found = await head_of(bus, c1.cluster)
            if found is None:
                return []
            head, message = found
            verify(message.subject, message.data, {public_key(SIGNING_KEY)})
            assert (head.cluster, head.epoch) == ("uid-1", 1)
            whole = parse_json(await artifacts.fetch(head.set))
            content = parse_json(await artifacts.fetch(whole["sections"]["bundles"]["digest"]))
            return [
                parse_json(await artifacts.fetch(one["artifact"]))["objects"][0] for one in content["bundles"]
            ]

        async def told_a() -> bool:
            return await told() == ["a"]

        async def told_b() -> bool:
            return await told() == ["b"]

        assert await wait_until(told_a, CLOCK, 10)
        assert await operator.apply(bundle_document("web", "b")) == ["configured"]
        assert await wait_until(told_b, CLOCK, 10)


async def test_a_restart_publishes_nothing_when_nothing_changed(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")), bundle_document("web"))
        await c1.start()
        await settled(bus, c1)
    before = await settled(bus, c1)

    async with controlling(fleet, tmp_path, "two"):
        await operator.wait_answered()
        await operator.ask("sync", {"kind": "Bundle", "name": "web"})
        after = await settled(bus, c1)

    assert after == before


async def test_a_cluster_that_is_purged_leaves_nothing_behind_but_its_revoked_key(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")), bundle_document("web"))
        await c1.start()
        await settled(bus, c1)

        await operator.ask("retire", {"name": "c1", "left": "retired", "purge": True})

        for stream, subject in (
            ("DESIRED", "fleet.v1.*.main.c1"),
            ("STATE", "fleet.v1.state.main.c1.*"),
            ("DOCUMENTS", "fleet.v1.document.cluster.c1"),
            ("STATUS", "fleet.v1.status.cluster.c1"),
        ):

            async def gone(stream: str = stream, subject: str = subject) -> bool:
                return await bus.get_last(stream, subject) is None

            assert await wait_until(gone, CLOCK, 5), subject
        assert (await operator.ask("list", {"kind": "Cluster"}))["rows"] == []
        removed = [event for event in await events(bus) if event.short_type == "cluster.removed"]
        assert [(event.subject, event.source) for event in removed] == [
            ("cluster/c1", "/fleets/test/clusters/c1")
        ]
        row = (await operator.ask("enrolments", {"name": "c1"}))["rows"][0]
        assert (row["outcome"], row["formerKeys"]) == ("retired", [fleet.public_key("c1")])
        assert (await operator.ask("enrolments", {}))["rows"] == []


async def settled(bus: NatsBus, cluster: Speaker) -> int:
    """The sequence of the head once it names bundles and has stayed the same for a while."""
    seen: list[int] = []

    async def same() -> bool:
        found = await head_of(bus, cluster.cluster)
        seen.append(found[1].sequence if found else 0)
        return len(seen) > 8 and len(set(seen[-8:])) == 1 and seen[-1] > 0

    assert await wait_until(same, CLOCK, 15)
    return seen[-1]
