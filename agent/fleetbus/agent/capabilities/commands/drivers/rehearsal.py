"""Driver `rehearsal`: does nothing but keep a ConfigMap, and succeeds, fails, hangs or dies as it is asked to.

For trying things out and for tests: the ConfigMap `fleetbus-rehearsal-<id>` is the effect; `effects` in it
counts how often a start found nothing, and `step` how far it has come, by the clock and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetbus.agent.capabilities.commands.drivers import Progress, Tools
from fleetbus.agent.capabilities.commands.drivers.arguments import parsed
from fleetbus.agent.ports import Rule
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.agent_pod import AGENT_NAMESPACE
from fleetbus.schemas.capabilities.commands import DRIVER_REHEARSAL, ID_LABEL, RehearsalArguments
from fleetbus.schemas.errors import AlreadyExists, NotFound, ObjectInvalid

NAMESPACE = AGENT_NAMESPACE
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
NAME_PREFIX = "fleetbus-rehearsal-"
NEEDS = (
    Rule(
        (CONFIG_MAP.group,),
        (CONFIG_MAP.plural,),
        ("get", "list", "watch", "create", "patch", "delete"),
        names=(f"{NAME_PREFIX}*",),
        home=True,
    ),
    Rule((CONFIG_MAP.group,), (CONFIG_MAP.plural,), ("list", "watch")),
)
_SHORTEST_LOOK_S = 0.02


class Rehearsal:
    """`dies` ends the process right after the effect, the first time; the agent that comes back finishes it."""

    name = DRIVER_REHEARSAL
    effect = CONFIG_MAP

    def __init__(self, tools: Tools) -> None:
        self._kube = tools.kube
        self._clock = tools.clock
        self._die = tools.die

    async def preflight(self, arguments: Mapping[str, Any]) -> str | None:
        wanted = parsed(RehearsalArguments, arguments)
        return wanted if isinstance(wanted, str) else None

    async def start(self, id: str, arguments: Mapping[str, Any]) -> None:
        wanted = parsed(RehearsalArguments, arguments)
        if isinstance(wanted, str):
            raise ObjectInvalid(wanted)
        data = {
            "effects": "1",
            "startedAt": self._clock.now().isoformat(),
            "step": "0",
            "steps": str(wanted.steps),
            "stepS": str(wanted.step_s),
            "outcome": wanted.outcome,
            "message": wanted.message,
        }
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": map_name(id), "namespace": NAMESPACE, "labels": {ID_LABEL: id}},
            "data": data,
        }
        try:
            await self._kube.create(CONFIG_MAP, NAMESPACE, body)
        except AlreadyExists:
            return
        if wanted.outcome == "dies":
            self._die()

    async def observe(self, id: str) -> Progress | None:
        try:
            found = await self._kube.get(CONFIG_MAP, NAMESPACE, map_name(id))
        except NotFound:
            return None
        data = found.get("data") or {}
        step = step_at(data, self._clock.now())
        if step != int(data.get("step") or 0):
            patch = {"metadata": {"uid": found["metadata"]["uid"]}, "data": {"step": str(step)}}
            found = await self._kube.merge_patch(CONFIG_MAP, NAMESPACE, map_name(id), patch)
        return progress(found, step)

    async def abort(self, id: str) -> None:
        await self._kube.delete(CONFIG_MAP, NAMESPACE, map_name(id))


def map_name(id: str) -> str:
    return f"{NAME_PREFIX}{id}"


def step_at(data: Mapping[str, str], now: datetime) -> int:
    """How far a rehearsal is at a moment; it never goes back, whatever the clock does."""
    steps, step_s = int(data.get("steps") or 1), float(data.get("stepS") or 0)
    passed_s = (now - datetime.fromisoformat(data["startedAt"])).total_seconds()
    reached = steps if step_s == 0 else max(0, min(steps, int(passed_s / step_s)))
    if data.get("outcome") == "hangs":
        reached = min(reached, steps - 1)
    return max(int(data.get("step") or 0), reached)


def progress(found: Mapping[str, Any], step: int) -> Progress:
    data = found.get("data") or {}
    steps, outcome = int(data.get("steps") or 1), data.get("outcome")
    output = {"effects": int(data.get("effects") or 0), "step": step}
    seen = str(found["metadata"].get("resourceVersion", ""))
    said = str(data.get("message") or "")
    if step >= steps and outcome == "fails":
        return Progress("Failed", 99, said or "it failed, as it was asked to", output, seen)
    if step >= steps:
        return Progress("Succeeded", 100, said or f"{steps} of {steps} steps", output, seen)
    look_again_s = max(_SHORTEST_LOOK_S, float(data.get("stepS") or 0))
    return Progress("Running", 100 * step // steps, f"step {step} of {steps}", output, seen, look_again_s)
