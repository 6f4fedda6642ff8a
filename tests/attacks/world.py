"""A fleet that goes on while it is attacked: a server, a controller, and those who must not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.nkeys import seed_of
from fleetbus.schemas.subjects import MAIN, ClusterId
from tests.bus_server import FleetServer, fleet_server
from tests.integration.controller.enrolling import Candidate, admitted_token
from tests.integration.controller.people import Controller, Operator, Speaker, controlling
from tests.integration.controller.toy import bundle_document, cluster_document

ATTACKER, BYSTANDER = ClusterId(MAIN, "c1"), ClusterId(MAIN, "c2")
NEWCOMER = ClusterId(MAIN, "c3")
"""Nobody has joined under this name yet; a token for it is out."""
MEMBER = ClusterId(MAIN, "member")
"""Whose renewer is in foreign hands."""
AGENT, OTHER_AGENT = ATTACKER.name, BYSTANDER.name
SUBSCRIBER, TEAM, VIEWER, OPERATOR = "subscriber", "some-types", "some-viewer", "some-operator"
TOKEN, RENEWER = "token", "renewer"
CANARY = "bundles-0"
"""The aspect in which the bystander tells what the subscriber must hear."""
FACTS = {"kubernetesVersion": "v1.36.3", "nodes": 3}


@dataclass(slots=True)
class World:
    """`fleet` has a credential for everybody who attacks. `look` sees the streams as the controller does."""

    fleet: FleetServer
    work_dir: Path
    look: NatsBus
    operator: Operator
    attacker: Speaker
    """What the attacked cluster's own agent would say, with its key."""
    bystander: Speaker
    restarts: int = 0
    _running: AsyncExitStack | None = None
    controller: Controller | None = None

    async def start_controller(self) -> None:
        self._running = AsyncExitStack()
        holder = f"controller-{self.restarts}"
        self.controller = await self._running.enter_async_context(
            controlling(self.fleet, self.work_dir, holder)
        )
        await self.operator.wait_answered()

    async def stop_controller(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running.aclose()

    async def restart_controller(self) -> None:
        await self.stop_controller()
        self.restarts += 1
        await self.start_controller()


@asynccontextmanager
async def bare_world(processes: Processes, directory: Path, name: str) -> AsyncIterator[World]:
    """Server, streams and connections, and no controller."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(fleet_server(processes, directory, name))
        look, admin, one, two = [
            await stack.enter_async_context(fleet.bus(who))
            for who in ("controller", "operator", AGENT, OTHER_AGENT)
        ]
        yield World(
            fleet,
            directory / f"{name}-work",
            look,
            Operator(admin, fleet.credentials["operator"]),
            Speaker(one, ATTACKER, fleet.seed(AGENT), "uid-1"),
            Speaker(two, BYSTANDER, fleet.seed(OTHER_AGENT), "uid-2"),
        )


@asynccontextmanager
async def living_world(processes: Processes, directory: Path, name: str) -> AsyncIterator[World]:
    """The same with a controller at work, two members, and a token and a renewer in foreign hands."""
    async with bare_world(processes, directory, name) as world:
        await world.start_controller()
        try:
            for speaker in (world.attacker, world.bystander):
                key = world.fleet.public_key(speaker.cluster.name)
                await world.operator.apply(cluster_document(speaker.cluster.name, key))
                await speaker.start()
                await speaker.say("facts", FACTS)
            await world.operator.apply(bundle_document("web"))
            world.fleet = await _with_candidates(world)
            yield world
        finally:
            await world.stop_controller()


async def _with_candidates(world: World) -> FleetServer:
    token = await admitted_token(world.fleet, world.operator, NEWCOMER.name)
    member = Candidate("uid-member")
    joined = await member.enrol(await admitted_token(world.fleet, world.operator, MEMBER.name))
    stolen = {
        TOKEN: Credential(token.admitted.jwt, seed_of(token.key)),
        RENEWER: Credential(joined.renewer, seed_of(member.key)),
    }
    inboxes = {who: subjects.personal_inbox(one.nkey) for who, one in stolen.items()}
    return replace(
        world.fleet,
        credentials={**world.fleet.credentials, **stolen},
        inboxes={**world.fleet.inboxes, **inboxes},
    )
