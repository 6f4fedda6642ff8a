"""A minute of real time on a real server with its owner in the middle, a real controller and an agent's real code.

Only the cluster is simulated. Operators order commands meanwhile: each takes effect once, none of his ever does, what
was accepted never goes back, and when he stops everything is said and done by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fleetbus.agent.capabilities import commands
from fleetbus.agent.capabilities.commands.drivers.rehearsal import CONFIG_MAP, map_name
from fleetbus.agent.desired import kept_key
from fleetbus.agent.facts import agent_version
from fleetbus.agent.keep import parse_state
from fleetbus.agent.main import run_agent
from fleetbus.agent.manifests import manifests
from fleetbus.agent.ports import Identity
from fleetbus.agent.settings import AgentSettings
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Resource
from fleetbus.schemas import subjects
from fleetbus.schemas.audit import OUTCOME_ORDERED
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import unverified, verify
from fleetbus.schemas.states import Facts, State
from fleetbus.schemas.streams import DESIRED, STATE
from tests.attacks.broker_owner import FORGED, MEDDLINGS, NAME, VICTIM, BrokerOwner
from tests.attacks.world import World, bare_world
from tests.integration.controller.people import CLOCK, FLEET, SIGNING_KEY
from tests.integration.controller.test_api import audits
from tests.integration.controller.toy import cluster_document
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.waiting import wait_until

FOR_S = 60.0
DEED_EVERY_S = 0.25
ORDER_EVERY_S = 4.0
SETTLED_WITHIN_S = 60.0
_AGENT_STATES = Resource("agent.fleetbus.dev", "v1alpha1", "agentstates", "AgentState", True)


@dataclass
class Scenes:
    """What is seen of the cluster while it lasts."""

    world: World
    cluster: SimulatedCluster
    accepted: dict[str, tuple[int, int]] = field(default_factory=dict)
    last: str = ""
    """The command that was ordered after he had stopped."""

    def effects(self) -> list[str]:
        return [
            change.key[1]
            for change in self.cluster.history
            if change.type == "ADDED"
            and change.kind == ("", CONFIG_MAP.plural)
            and "rehearsal" in change.key[1]
        ]

    async def watch(self) -> None:
        """What the agent has accepted never goes back."""
        while True:
            for stored in self.cluster.objects(_AGENT_STATES).values():
                for which in subjects.MAILBOXES:
                    kept: Any = parse_state(stored.object).get(kept_key(which)) or {}
                    now = (int(kept.get("epoch", 0)), int(kept.get("serial", -1)))
                    assert now >= self.accepted.get(which, (0, -1)), which
                    self.accepted[which] = now
            await CLOCK.sleep(0.05)

    async def order(self) -> str:
        """Have something done; the id of the command. Raises what was answered."""
        arguments = {"outcome": "succeeds", "steps": 1, "stepS": 0.05}
        order = {"cluster": VICTIM.name, "driver": "rehearsal", "deadlineS": 600.0, "arguments": arguments}
        told = await self.world.operator.ask("command", {"action": "run", "order": order})
        return str(told["commands"][0]["id"])

    async def keep_ordering(self) -> None:
        while True:
            await CLOCK.sleep(ORDER_EVERY_S)
            with suppress(FleetbusError):
                await self.order()

    async def works(self) -> bool:
        """Whether what is ordered now is done; what he did last may still end a term, and its list with it."""
        self.last = await self.order()
        return await wait_until(lambda: holds(self._is_done()), CLOCK, 5.0)

    async def _is_done(self) -> bool:
        told = await self.world.operator.ask("commands", {"cluster": VICTIM.name})
        phases = {row["id"]: row["phase"] for row in told["commands"]}
        return bool(phases.get(self.last) == "Succeeded")

    async def is_well(self) -> bool:
        """Nothing of what was reported is refused, by the controller or by the agent."""
        asked = {"kind": "Cluster", "names": [VICTIM.name]}
        live = (await self.world.operator.ask("list", asked))["rows"][0]["live"]
        facts = await self.world.look.get_last(STATE.name, subjects.state(VICTIM, "facts"))
        state = State.from_bytes(unverified(facts.data)) if facts else None
        return "refused" not in live and state is not None and not Facts.from_json(state.body).refused


@asynccontextmanager
async def agent(world: World, cluster: SimulatedCluster) -> AsyncIterator[None]:
    """The agent's own code, on the real bus."""
    uid = cluster.find(cluster.kind("v1", "Namespace"), ("", "kube-system")).object["metadata"]["uid"]
    settings = AgentSettings(
        identity=Identity(FLEET, VICTIM, uid),
        credential=world.fleet.credentials[VICTIM.name],
        bus_servers=("tls://127.0.0.1:1",),
        bus_ca="",
        controller_keys=frozenset({public_key(SIGNING_KEY)}),
    )
    await asyncio.to_thread(agent_version)
    async with NatsBus(world.fleet.settings(VICTIM.name), CLOCK) as bus:
        kube = SimulatedKube(cluster, seed=1)
        running = run_agent(settings, bus, kube, None, CLOCK, "pod", catalogue=(commands.CAPABILITY,))
        task = asyncio.create_task(running)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


@pytest.fixture
async def scenes(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scenes]:
    # What is looked at and said again now and then, within the minute.
    monkeypatch.setattr("fleetbus.agent.report.AGAIN_EVERY_S", 5.0)
    monkeypatch.setattr("fleetbus.controller.mailboxes.LOOK_EVERY_S", 5.0)
    async with bare_world(processes, tmp_path, f"owned-{tmp_path.name}") as world:
        cluster = SimulatedCluster(CLOCK, seed=1)
        for one in manifests("full"):
            metadata = one["metadata"]
            resource = cluster.kind(one["apiVersion"], one["kind"])
            cluster.put(resource, (metadata.get("namespace", ""), metadata["name"]), one, {})
        await world.start_controller()
        try:
            await world.operator.apply(cluster_document(VICTIM.name, world.fleet.public_key(VICTIM.name)))
            async with agent(world, cluster):
                yield Scenes(world, cluster)
        finally:
            await world.stop_controller()


@asynccontextmanager
async def owner(world: World) -> AsyncIterator[BrokerOwner]:
    inside, system = (replace(world.fleet.settings(who), name=NAME) for who in ("controller", "system"))
    async with NatsBus(inside, CLOCK) as bus, NatsBus(system, CLOCK) as above:
        await bus.wait_connected()
        await above.wait_connected()
        yield BrokerOwner(bus, above)


async def meddle(someone: BrokerOwner) -> None:
    """Each of his deeds in turn, in an order that is drawn, until the minute is over."""
    chance = Random(1)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(someone.eavesdrop())
        until_s = CLOCK.monotonic_s() + FOR_S
        while CLOCK.monotonic_s() < until_s:
            for meddling in chance.sample(MEDDLINGS, len(MEDDLINGS)):
                with suppress(FleetbusError):
                    await someone.look()
                    await meddling.deed(someone)
                    someone.done.add(meddling.what)
                await CLOCK.sleep(DEED_EVERY_S)
        listening.cancel()


async def holds(asked: Awaitable[bool]) -> bool:
    """Not while nobody answers."""
    try:
        return await asked
    except (FleetbusError, TimeoutError):
        return False


async def test_who_owns_the_broker_for_a_minute_moves_nothing(scenes: Scenes) -> None:
    async with (
        asyncio.timeout(FOR_S + 3 * SETTLED_WITHIN_S),
        owner(scenes.world) as someone,
        asyncio.TaskGroup() as tasks,
    ):
        watching, ordering = (tasks.create_task(one) for one in (scenes.watch(), scenes.keep_ordering()))
        await meddle(someone)
        ordering.cancel()
        assert await wait_until(lambda: holds(scenes.works()), CLOCK, SETTLED_WITHIN_S)
        assert await wait_until(lambda: holds(scenes.is_well()), CLOCK, SETTLED_WITHIN_S)
        watching.cancel()
    assert someone.done == {meddling.what for meddling in MEDDLINGS}
    effects = scenes.effects()
    assert len(effects) == len(set(effects))
    issued = {one.object.removeprefix("command/") for one in await audits(scenes.world.look, OUTCOME_ORDERED)}
    assert {map_name(scenes.last)} <= set(effects) <= set(map(map_name, issued))
    assert FORGED not in issued
    for subject in (subjects.desired(VICTIM), subjects.command(VICTIM)):
        found = await scenes.world.look.get_last(DESIRED.name, subject)
        assert found is not None
        verify(subject, found.data, {public_key(SIGNING_KEY)})
