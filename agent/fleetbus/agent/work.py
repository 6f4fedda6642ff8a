"""One capability at work: its worker's passes, what wakes them, and what they report."""

from __future__ import annotations

from dataclasses import dataclass

from fleetbus.agent.instructions import Instructions
from fleetbus.agent.ports import Capability, Ports
from fleetbus.agent.report import Reporter
from fleetbus.agent.standing import Standing
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import first, repeat


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a capability's word comes from and where its outcome goes."""

    instructions: Instructions
    reporter: Reporter
    standing: Standing
    clock: Clock


async def run_capability(capability: Capability, ports: Ports, desk: Desk) -> None:
    """Until cancelled: a pass on every change of what is told or of the world, and when the last one asked."""
    worker = capability.start(ports)
    seen = desk.instructions.stirred(capability.name)

    async def step() -> float | None:
        nonlocal seen
        seen = desk.instructions.stirred(capability.name)
        with desk.reporter.awaiting():
            outcome = await worker.reconcile(desk.instructions.told(capability.name))
        for aspect in {**outcome.aspects, **outcome.happened}:
            body = outcome.aspects.get(aspect)
            desk.reporter.take(aspect, body, outcome.happened.get(aspect, ()))
        return outcome.again_in_s

    async def wake() -> None:
        await first(desk.instructions.changed(capability.name, seen), worker.changed())

    try:
        judged = desk.standing.judge(capability.name)
        await repeat(capability.name, step, desk.clock, wake=wake, judged=judged)
    finally:
        await worker.close()
