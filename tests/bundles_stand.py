"""The capability bundles at work on any cluster: artifacts in memory, entries told as a controller would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from fleetbus.agent.capabilities.bundles import CAPABILITY
from fleetbus.agent.ports import Told
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Kube
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundlesSection, BundlesState, BundleState
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.errors import NotFound
from tests.agent_ports import MemoryKeep, Side, ports


class MemoryArtifacts:
    """Artifacts by digest."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.fetched = 0

    def put(self, objects: Sequence[Mapping[str, Any]]) -> str:
        made = artifact({"objects": [dict(one) for one in objects]})
        self.contents[made.name] = made.content
        return made.name

    async def fetch(self, digest: str) -> bytes:
        self.fetched += 1
        if digest not in self.contents:
            raise NotFound(f"artifact {digest[:12]} is not on the bus")
        return self.contents[digest]


class Stand:
    """One agent's bundles, told by hand. Enter it to set it to work; enter it again for a restarted agent."""

    def __init__(
        self, kube: Kube, clock: Clock | None = None, *, observes: Callable[[], bool] = lambda: False
    ) -> None:
        self.artifacts = MemoryArtifacts()
        self.keep = MemoryKeep()
        self.entries: dict[str, BundleEntry] = {}
        self.retired: dict[str, Retired] = {}
        self.halts: tuple[str, ...] = ()
        self._given = replace(
            ports(kube, keep=self.keep, clock=clock), artifacts=self.artifacts, observes=observes
        )
        self._bodies: dict[str, Mapping[str, Any]] = {}
        self.side = self._side()

    def _side(self) -> Side:
        given = replace(self._given, reported=lambda aspect: self._bodies.get(aspect, {}))
        side = Side(CAPABILITY, given)
        side.bodies.update(self._bodies)
        return side

    async def __aenter__(self) -> Self:
        await self.side.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.side.__aexit__(*error)
        self._bodies = dict(self.side.bodies)
        self.side = self._side()

    def tell(self, name: str, objects: Sequence[Mapping[str, Any]], **fields: Any) -> BundleEntry:
        """Tell a bundle to have these objects; `fields` of its entry, such as `adopt`."""
        digest = self.artifacts.put(objects)
        id_ = fields.pop("id", f"id-{name}")
        self.entries[id_] = BundleEntry(
            id=id_,
            name=name,
            generation=1,
            revision=f"main@sha1:{digest[:8]}",
            artifact=digest,
            objects=len(objects),
            **fields,
        )
        self.retired.pop(id_, None)
        self.say()
        return self.entries[id_]

    def retire(self, name: str, policy: Any = "Remove", count: int | None = None) -> None:
        id_ = f"id-{name}"
        self.entries.pop(id_, None)
        self.retired[id_] = Retired(capability="bundles", id=id_, name=name, policy=policy, count=count)
        self.say()

    def forget(self, name: str) -> None:
        """Let a bundle stand in no list."""
        self.entries.pop(f"id-{name}", None)
        self.retired.pop(f"id-{name}", None)
        self.say()

    def say(self) -> None:
        section = BundlesSection(bundles=tuple(self.entries.values())).as_json()
        self.side.tell(section, *self.retired.values(), halts=self.halts)

    def say_nothing(self) -> None:
        self.side.told = Told(None)

    def states(self) -> dict[str, BundleState]:
        bodies = self.side.bodies.values()
        return {one.name: one for body in bodies for one in BundlesState.from_json(dict(body)).bundles}

    def state(self, name: str) -> BundleState | None:
        return self.states().get(name)

    def condition(self, name: str, type_: str = "Ready") -> Condition | None:
        state = self.state(name)
        return find(state.conditions, type_) if state else None

    def stands(self, name: str, status: str, reason: str = "", type_: str = "Ready") -> bool:
        """Whether a condition is so, for what the bundle is told now."""
        condition, state = self.condition(name, type_), self.state(name)
        entry = next((one for one in self.entries.values() if one.name == name), None)
        if condition is None or state is None or (entry and state.artifact != entry.artifact):
            return False
        return condition.status == status and reason in ("", condition.reason)

    async def until(self, name: str, status: str, reason: str = "", type_: str = "Ready") -> BundleState:
        await self.side.until(lambda: self.stands(name, status, reason, type_))
        state = self.state(name)
        assert state is not None
        return state


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
