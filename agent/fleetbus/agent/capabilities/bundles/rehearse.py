"""An agent that only observes: what a pass would do, said of each object, and nothing written."""

from __future__ import annotations

from collections.abc import Sequence

from fleetbus.agent.capabilities.bundles.apply import Hands, verdict
from fleetbus.agent.capabilities.bundles.objects import ObjectKey
from fleetbus.agent.capabilities.bundles.observe import read_existing
from fleetbus.agent.capabilities.bundles.plan import ApplyStep
from fleetbus.agent.capabilities.bundles.refusals import object_state, refusal
from fleetbus.agent.capabilities.bundles.world import Pass, World
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.bundles import REASON_OBSERVE_ONLY
from fleetbus.schemas.errors import FleetbusError

_SAYS = {
    "changed": ("change", "would be changed"),
    "resumed": ("change", "would be changed"),
    "drifted": ("change", "was changed here and would be put back"),
    "deleted": ("create", "was deleted here and would be made again"),
}


def unseen(world: World, steps: Sequence[ApplyStep]) -> dict[ObjectKey, Resource]:
    """The objects that are in no record: whether they exist must be looked at."""
    return {
        step.desired.key: resource
        for step in steps
        if step.cause == "new"
        and (resource := world.resources.get((step.desired.api_version, step.desired.key.kind))) is not None
    }


async def rehearse(world: World, hands: Hands, one: Pass) -> None:
    """Raises KubeUnavailable when the apiserver does not answer."""
    steps = [step for level in one.planned.apply for step in level]
    existing = await read_existing(world.kube, unseen(world, steps))
    for step in steps:
        key = step.desired.key
        found = existing.get(key)
        if isinstance(found, FleetbusError):
            one.done.refused[key] = refusal(key, found)
        elif found is not None and (refused := verdict(hands, key, found)) is not None:
            one.done.refused[key] = refused
        elif step.cause != "new":
            _say(one, key, *_SAYS[step.cause])
        elif found is not None:
            _say(one, key, "change", "exists already and would be applied over")
        else:
            _say(one, key, "create", "would be created")
    for level in one.planned.prune:
        for prune in level:
            _say(one, prune.key, "remove", "would be removed")


def _say(one: Pass, key: ObjectKey, verb: str, words: str) -> None:
    one.would[verb] += 1
    one.done.refused[key] = object_state(key, REASON_OBSERVE_ONLY, words)
