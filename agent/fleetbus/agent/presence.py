"""That the agent is there, and what it finds: heartbeats, and the facts with an acknowledgement now and then."""

from __future__ import annotations

import asyncio

from fleetbus.agent.facts import FACTS, OBSERVE_EVERY_S, Observed, facts, known_before, observe_facts
from fleetbus.agent.ports import Identity
from fleetbus.agent.report import Reporter
from fleetbus.agent.standing import Standing
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Bus, Kube
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities.clusters import HEARTBEAT_S
from fleetbus.schemas.states import Heartbeat

PROVE_EVERY_S = 60.0


async def beat(identity: Identity, bus: Bus, clock: Clock, reporter: Reporter) -> None:
    """A heartbeat every HEARTBEAT_S, for ever; what cannot be sent now is not sent later."""
    subject = subjects.heartbeat(identity.cluster)

    async def step() -> float:
        if reporter.session and bus.connected:
            heartbeat = Heartbeat(session=reporter.session, at=clock.now(), server=bus.server)
            await bus.publish(subject, heartbeat.to_bytes())
            return clock.jitter(HEARTBEAT_S)
        return clock.jitter(1.0)

    await repeat("heartbeat", step, clock)


async def report_facts(kube: Kube, clock: Clock, standing: Standing, reporter: Reporter) -> None:
    """Facts when the cluster or the agent's standing changed; written anew now and then to prove the connection.

    A replica that is cut off answers with old values for ever and without an error: only a write shows it.
    """
    observed: Observed | None = None

    async def observe() -> float:
        nonlocal observed
        observed = await observe_facts(kube, observed or known_before(reporter.reported(FACTS)))
        standing.changed.set()
        return clock.jitter(OBSERVE_EVERY_S)

    async def tell() -> None:
        standing.changed.clear()
        if observed is not None:
            reporter.take(FACTS, facts(observed, standing).as_json())

    async def wake() -> None:
        await standing.changed.wait()

    async def prove() -> float:
        await reporter.prove(FACTS)
        return clock.jitter(PROVE_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(repeat("observe", observe, clock, judged=standing.judge("observe")))
        group.create_task(repeat("facts", tell, clock, wake=wake))
        group.create_task(repeat("prove", prove, clock))
