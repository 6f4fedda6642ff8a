"""After each fault, with nothing done by hand: the desired state is reached, no command takes effect twice, and no
event is missing or doubled for a subscriber that resumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fleetbus.local.demo.repository import Repository
from tests.e2e.operator_story import Operator, binding, bundle, config_map, namespace, source, until

CLUSTERS = ("dev-eu", "staging-eu", "prod-us")
MANY = 60


@dataclass(frozen=True, slots=True)
class Stage:
    """A bundle on all clusters whose ConfigMaps all have one value."""

    operator: Operator
    repository: Repository
    name: str

    async def write(self, value: str, count: int = 1) -> None:
        for number in range(count):
            self.repository.write(f"c{number:03d}.json", config_map(self.name, f"c{number:03d}", value))
        await self.repository.commit(value)

    async def sync(self) -> None:
        """The controller may be gone while it is asked: then it is asked again."""

        async def so() -> bool:
            return (
                await self.operator.ask("fleetbus", "sync", f"source/{self.name}", "--timeout", "20s")
            ).code == 0

        await until(so, lambda: f"source/{self.name} was never synced", 90)

    async def until_everywhere(self, value: str, count: int = 1) -> None:
        for number in (0, count - 1):
            wanted: dict[str, str | None] = dict.fromkeys(CLUSTERS, value)
            await self.operator.until_value(wanted, self.name, f"c{number:03d}", timeout_s=120)


@pytest.fixture
async def stage(request: pytest.FixtureRequest, operator: Operator, repository: Repository) -> Stage:
    name = "f-" + request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    repository.write("namespace.json", namespace(name))
    made = Stage(operator, repository, name)
    await made.write("before")
    await operator.apply(source(name, repository), bundle(name, {"selector": {}}), wait=True)
    return made


@asynccontextmanager
async def commands_once(operator: Operator, cluster: str) -> AsyncIterator[None]:
    """Two commands are given before the fault, one hurries and one takes its time; both take effect once."""
    quick = await operator.command(cluster, "--driver", "rehearsal")
    slow = await operator.command(cluster, "--driver", "rehearsal", "--arg", "steps=20", "--arg", "stepS=0.2")
    yield
    for identifier in (quick, slow):
        assert await operator.until_phase(identifier, "Succeeded", "Failed", timeout_s=120) == "Succeeded"
        assert await operator.effects(cluster, identifier) == 1
        await operator.until_event("command.succeeded", f"command/{identifier}", timeout_s=60)
        for type_ in ("command.issued", "command.started", "command.succeeded"):
            assert len(operator.events(type_, f"command/{identifier}")) == 1


async def test_nats_is_killed_and_restarted(stage: Stage) -> None:
    fleet = stage.operator.fleet
    async with commands_once(stage.operator, "dev-eu"):
        await stage.write("after", 10)
        syncing = asyncio.create_task(stage.operator.ask("fleetbus", "sync", f"source/{stage.name}"))
        await fleet.nats.kill()
        await syncing
        await fleet.nats.start()

        await stage.sync()
        await stage.until_everywhere("after", 10)
    await stage.operator.settled()


async def test_the_controller_is_killed_in_the_middle_of_a_publish(stage: Stage) -> None:
    fleet = stage.operator.fleet
    async with commands_once(stage.operator, "staging-eu"):
        for turn in range(3):
            value = f"turn-{turn}"
            await stage.write(value, MANY)
            syncing = asyncio.create_task(
                stage.operator.ask("fleetbus", "sync", f"source/{stage.name}", "--timeout", "5s")
            )
            # As soon as the first cluster has been told, others are still to be told.
            await _first_told(stage, value)
            await fleet.controller.kill()
            await syncing
            await fleet.controller.start()
        await stage.until_everywhere("turn-2", MANY)
    await stage.operator.settled()


async def _first_told(stage: Stage, value: str) -> None:
    async def so() -> bool:
        seen = [await stage.operator.value(cluster, stage.name, "c000") for cluster in CLUSTERS]
        return value in seen

    await until(so, lambda: "nobody was told", 60, every_s=0.002)


async def test_an_agent_is_killed_in_the_middle_of_an_apply(stage: Stage) -> None:
    fleet, operator = stage.operator.fleet, stage.operator
    agent = fleet.agents["prod-us"]
    async with commands_once(operator, "prod-us"):
        await stage.write("after", MANY)
        syncing = asyncio.create_task(operator.ask("fleetbus", "sync", f"source/{stage.name}"))

        async def begun() -> bool:
            return await operator.value("prod-us", stage.name, "c001") == "after"

        await until(begun, lambda: "nothing was applied", 60, every_s=0.002)
        await agent.kill()
        done = [await operator.value("prod-us", stage.name, f"c{n:03d}") for n in range(MANY)]
        print(f"{done.count('after')} of {MANY} were applied when it was killed")
        await syncing
        await agent.start()

        await stage.until_everywhere("after", MANY)
    await operator.settled()


async def test_two_controllers_at_once(stage: Stage) -> None:
    """The second waits; when the first is paused, so that it does not know, and comes back, it writes nothing."""
    import signal

    fleet, operator = stage.operator.fleet, stage.operator
    second = await fleet.start_controller("controller-2")
    try:
        async with commands_once(operator, "dev-eu"):
            await stage.write("both", 5)
            await stage.sync()
            await stage.until_everywhere("both", 5)
            fleet.controller.send(signal.SIGSTOP)
            await stage.write("second", 5)
            await stage.sync()
            await stage.until_everywhere("second", 5)
            fleet.controller.send(signal.SIGCONT)
            await stage.write("again", 5)
            await stage.sync()
            await stage.until_everywhere("again", 5)
    finally:
        fleet.controller.send(signal.SIGCONT)
        await second.stop()
    await operator.settled()


async def test_two_agents_of_one_cluster_at_once(stage: Stage) -> None:
    fleet, operator = stage.operator.fleet, stage.operator
    second = await fleet.start_agent("staging-eu", "staging-eu-agent-2")
    try:
        async with commands_once(operator, "staging-eu"):
            await stage.write("both", 5)
            await stage.sync()
            await stage.until_everywhere("both", 5)
            await fleet.agents["staging-eu"].kill()
            await stage.write("second", 5)
            await stage.sync()
            await stage.until_everywhere("second", 5)
    finally:
        await fleet.agents["staging-eu"].start()
        await second.stop()
    await stage.write("first again", 5)
    await stage.sync()
    await stage.until_everywhere("first again", 5)
    await operator.settled()


async def test_an_apiserver_is_gone_for_a_while(stage: Stage) -> None:
    operator = stage.operator
    cluster = operator.fleet.clusters["prod-us"]
    async with commands_once(operator, "prod-us"):
        await cluster.kill_apiserver()
        try:
            await stage.write("after", 5)
            await stage.sync()
            wanted: dict[str, str | None] = {"dev-eu": "after", "staging-eu": "after"}
            await operator.until_value(wanted, stage.name, "c000")
            # Without its apiserver an agent holds no Lease and says nothing: nobody takes it for well.
            await until(lambda: _is_unwell(operator, "prod-us"), lambda: "prod-us is still Ready", 90)
        finally:
            await cluster.start_apiserver()

        await stage.until_everywhere("after", 5)
    await operator.settled()


async def _is_unwell(operator: Operator, cluster: str) -> bool:
    return str((await operator.condition(f"cluster/{cluster}"))["status"]) != "True"


async def test_openbao_is_sealed_and_unsealed(stage: Stage) -> None:
    operator, name = stage.operator, stage.name
    vault = operator.fleet.vault
    await operator.put_secret(f"shared/{name}", value="first")
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)
    await operator.apply(binding(name, ["dev-eu", "prod-us"], {"shared": name}, name), wait=True)
    async with commands_once(operator, "dev-eu"):
        await vault.seal()
        try:
            sealed = await operator.until_condition(f"secretbinding/{name}", "Synced", reason="VaultSealed")
            assert sealed["status"] != "True"
            # What was read stays, and everything else goes on.
            assert await operator.secret("prod-us", name, name) == "first"
            await stage.write("meanwhile", 3)
            await stage.sync()
            await stage.until_everywhere("meanwhile", 3)
        finally:
            await vault.unseal()
        await operator.put_secret(f"shared/{name}", value="second")

        async def followed() -> bool:
            found = [await operator.secret(cluster, name, name) for cluster in ("dev-eu", "prod-us")]
            return found == ["second", "second"]

        await until(followed, lambda: "the new version did not follow", 90)
    await operator.until_condition(f"secretbinding/{name}", "Ready", status="True")
    await operator.settled()


async def test_a_cluster_is_away_while_its_bundles_change(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ten changes of one bundle, and another one deleted."""
    operator = stage.operator
    other = f"{stage.name}-x"
    gone = bundle(other, {"selector": {}}, namespace=stage.name) | {"metadata": {"name": other}}
    second = Repository(tmp_path_factory.mktemp("second") / "repository")
    await second.create_empty()
    second.write("gone.json", config_map(stage.name, "gone", "here"))
    await second.commit("first")
    await operator.apply(source(other, second), gone, wait=True)
    agent = operator.fleet.agents["prod-us"]
    await agent.kill()
    try:
        for turn in range(10):
            await stage.write(f"turn-{turn}")
            await operator.client.sync("Source", stage.name)
            await operator.until_value({"dev-eu": f"turn-{turn}"}, stage.name, "c000")
        await operator.run("delete", f"bundle/{other}", "--yes")
        await operator.until_value({"dev-eu": None, "staging-eu": None}, stage.name, "gone")
        assert await operator.value("prod-us", stage.name, "gone") == "here"
        assert await operator.value("prod-us", stage.name, "c000") == "before"
        # Its receipt is missing, so the bundle is still there and says of whom.
        assert "prod-us" in (await operator.run("describe", f"bundle/{other}")).out
        identifier = await operator.command("prod-us", "--driver", "rehearsal")
    finally:
        await agent.start()

    await stage.until_everywhere("turn-9")
    await operator.until_value(dict.fromkeys(CLUSTERS, None), stage.name, "gone")
    await operator.until_phase(identifier, "Succeeded")
    assert await operator.effects("prod-us", identifier) == 1
    await operator.run("wait", f"bundle/{other}", "--for", "delete", "--timeout", "60s")
    assert len(operator.events("bundle.deleted", f"bundle/{other}")) == 1
    await operator.settled()
