"""A cluster that is switched off is retired, comes back and is refused, keeps what it runs, and joins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.online import system_bus
from fleetbus.local import founding
from fleetbus.local.demo.repository import Repository
from fleetbus.local.demo.witness import Witness
from fleetbus.local.fleet import LocalFleet
from fleetbus.schemas.capabilities import clusters as words
from tests.e2e.operator_story import CLOCK, Operator, bundle, config_map, namespace, source

NAME = "dev-eu"
REFUSALS = "$SYS.SERVER.*.CLIENT.AUTH.ERR"


@pytest.fixture
async def alone(log_dir: Path, tmp_path: Path) -> AsyncIterator[Operator]:
    """A fleet of one cluster, that may be taken out of it."""
    async with (
        LocalFleet(log_dir / "leaving", (NAME,), progress=print) as fleet,
        Witness(lambda: fleet.connect("events")) as witness,
        fleet.connect() as client,
    ):
        yield Operator(fleet, client, witness, tmp_path)


async def _object(alone: Operator) -> dict[str, str]:
    found = await alone.read(NAME, "/api/v1/namespaces/stays/configmaps/kept")
    assert found is not None
    metadata: dict[str, str] = found["metadata"]
    return {key: metadata[key] for key in ("uid", "resourceVersion")}


async def test_what_runs_in_a_retired_cluster_survives_its_return(
    alone: Operator, repository: Repository
) -> None:
    repository.write("namespace.json", namespace("stays"))
    repository.write("kept.json", config_map("stays", "kept", "here"))
    await repository.commit("kept")
    await alone.apply(source("stays", repository), bundle("stays", {"selector": {}}), wait=True)
    before, agent = await _object(alone), alone.fleet.agents[NAME]
    await agent.kill()

    said = await alone.run("cluster", "retire", NAME, "--purge", "--yes", "--reason", "sold")

    assert f"cluster/{NAME} retired" in said.out
    assert (await alone.client.list("Cluster")).rows == ()
    for type_ in (words.EVENT_RETIRED, words.EVENT_REMOVED):
        await alone.until_event(type_, f"cluster/{NAME}")
    await _comes_back_and_is_refused(alone)
    assert await _object(alone) == before

    await _joins_again(alone)

    await alone.until_event(words.EVENT_ENROLLED, f"cluster/{NAME}")
    refused = alone.events(words.EVENT_ENROLMENT_REFUSED, f"cluster/{NAME}")
    assert [one.data["reason"] for one in refused] == [words.REASON_KEY_REVOKED]
    await alone.until_condition("bundle/stays", "Ready", status="True", timeout_s=60)
    assert (await _object(alone))["uid"] == before["uid"]
    assert await alone.value(NAME, "stays", "kept") == "here"


async def _comes_back_and_is_refused(alone: Operator) -> None:
    """By the server, more than once."""
    async with (
        system_bus(alone.fleet.folder, CLOCK) as system,
        system.subscribe(REFUSALS) as refusals,
        asyncio.timeout(60),
    ):
        await alone.fleet.agents[NAME].start()
        for _ in range(2):
            await anext(refusals)


async def _joins_again(alone: Operator) -> None:
    fleet = alone.fleet
    agent, member = fleet.agents[NAME], fleet.members[0]
    await agent.stop(10)
    uid = await founding.join_member(member, fleet.folder, fleet.clusters[NAME], alone.client)
    await agent.start()
    await founding.finish_member(NAME, uid, fleet.vault, alone.client, 60)
    await fleet.wait_ready()
