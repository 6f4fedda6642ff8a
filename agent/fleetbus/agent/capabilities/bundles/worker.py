"""The capability at work: what it is told becomes holdings, each holding one pass, the passes one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog

from fleetbus.agent.capabilities.bundles.claims import Claims
from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.judge import within_bounds
from fleetbus.agent.capabilities.bundles.objects import CRD, GroupKind, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import ApiKind, Kinds, read_memberships
from fleetbus.agent.capabilities.bundles.ownership import Membership, apply_set_id, parent_name
from fleetbus.agent.capabilities.bundles.passes import run_bundle
from fleetbus.agent.capabilities.bundles.retire import kept_state, removed_state, run_retired
from fleetbus.agent.capabilities.bundles.world import World
from fleetbus.agent.ports import Outcome, Ports, Told
from fleetbus.agent.text import cut
from fleetbus.runtime.failures import described
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.bundles import (
    CAPABILITY,
    BundlesSection,
    BundlesState,
    BundleState,
    aspect_of,
)
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.events import Happened

BUNDLES_AT_ONCE = 8
RECEIPTS = "bundles-receipts"
_SYNC_TIMEOUT_S = 5.0

log = structlog.get_logger("bundles")


class BundlesWorker:
    """One life of the capability in one agent."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._holdings: dict[str, Holding] = {}
        self._by_apply_set: dict[str, Holding] = {}
        self._kinds = Kinds(ports.kube)
        self._watches = Watches(
            ports.kube, ports.clock, lambda apply_set: apply_set in self._by_apply_set, self._touched
        )
        self._wake = asyncio.Event()
        self._claims = Claims()
        self._told_content: Any = None
        self._retired: dict[str, Retired] = {}
        self._receipts: dict[str, int] = {}
        self._removed: dict[str, BundleState] = {}
        self._has_begun = False
        self._is_told = False

    async def reconcile(self, told: Told) -> Outcome:
        self._wake.clear()
        if not self._has_begun:
            await self._begin()
        self._tell(told)
        if not self._is_told:
            return Outcome()
        await self._watches.sweep()
        await self._load_artifacts()
        world = await self._world(told)
        now_s = self._ports.clock.monotonic_s()
        due = [holding for holding in self._holdings.values() if holding.is_due(now_s)]
        happened = await self._run(world, [one for one in due if one.entry is not None])
        for holding in due:
            if holding.entry is None:
                await self._run_without_entry(world, holding)
        self._watches.want(self._watched(world))
        return self._outcome(told, world, happened)

    async def changed(self) -> None:
        await self._wake.wait()

    async def close(self) -> None:
        await self._watches.close()
        await self._kinds.close()

    async def _begin(self) -> None:
        """Take up what an earlier agent has recorded, and see what of it is there."""
        await self._kinds.prime()
        for membership in (await read_memberships(self._ports.kube)).values():
            self._hold(membership)
        receipts = self._ports.keep.kept(RECEIPTS) or {}
        self._receipts = {id_: count for id_, count in receipts.items() if isinstance(count, int)}
        recorded = {kind for holding in self._holdings.values() for kind in holding.recorded_kinds()}
        resources = await self._kinds.resolve(recorded)
        self._watches.want(_by_group(resources))
        await self._watches.wait_synced(_SYNC_TIMEOUT_S)
        self._has_begun = True

    def _hold(self, membership: Membership) -> Holding:
        holding = Holding(membership, state=self._reported(membership.id))
        self._holdings[membership.id] = holding
        self._by_apply_set[membership.apply_set] = holding
        return holding

    def _reported(self, id_: str) -> BundleState | None:
        """What was said of a bundle before this process began: transition times go on from there."""
        body = self._ports.reported(aspect_of(id_))
        try:
            known = BundlesState.from_json(dict(body)).bundles
        except FleetbusError:
            return None
        return next((state for state in known if state.id == id_ and not state.removed), None)

    def _touched(self, apply_sets: Collection[str] | None) -> None:
        if apply_sets is None:
            touched: Iterable[Holding] = self._holdings.values()
        else:
            touched = [one for name in apply_sets if (one := self._by_apply_set.get(name)) is not None]
        for holding in touched:
            holding.dirty = True
            self._wake.set()

    def _tell(self, told: Told) -> None:
        """Hand each holding its entry or its retirement. Raises MessageMalformed for a section that is none."""
        self._retired = {one.id: one for one in told.retired if one.capability == CAPABILITY}
        if told.content is not None and told.content is not self._told_content:
            section = BundlesSection.from_json(told.content)
            entries = {entry.id: entry for entry in section.bundles}
            for id_, entry in entries.items():
                holding = self._holdings.get(id_) or self._hold(Membership(id_, entry.name))
                holding.tell(entry, None)
            for id_, holding in self._holdings.items():
                if id_ not in entries:
                    holding.tell(None, self._retired.get(id_))
            # Told order decides whose an object is that several want for the first time.
            self._holdings = {
                **{id_: self._holdings[id_] for id_ in entries},
                **{id_: one for id_, one in self._holdings.items() if id_ not in entries},
            }
            self._told_content = told.content
            self._is_told = True
        for id_, retired in self._retired.items():
            if id_ in self._holdings and self._holdings[id_].entry is None:
                self._holdings[id_].tell(None, retired)
        self._is_told = self._is_told or bool(self._retired)

    async def _load_artifacts(self) -> None:
        async def load(holding: Holding) -> None:
            if holding.entry is None:
                return
            try:
                holding.load(await self._ports.artifacts.fetch(holding.entry.artifact))
                holding.missing = ""
            except FleetbusError as error:
                holding.missing = cut(described(error))
            holding.dirty = True

        now_s = self._ports.clock.monotonic_s()
        wanted = [one for one in self._holdings.values() if not one.is_loaded and one.is_due(now_s)]
        await asyncio.gather(*(load(holding) for holding in wanted))

    async def _world(self, told: Told) -> World:
        holdings = self._holdings.values()
        definitions = {
            one.defines: key
            for holding in holdings
            if CRD in {(api.rpartition("/")[0], kind) for api, kind in holding.kinds}
            for key, one in (holding.objects or {}).items()
            if one.defines is not None
        }
        wanted = {kind for holding in holdings for kind in (*holding.kinds, *holding.recorded_kinds())}
        asked = {kind for kind in wanted if self._kinds.knows(kind) or self._may_be_served(kind, definitions)}
        resources = await self._kinds.resolve(asked)
        for holding in holdings:
            holding.scope(resources)
        self._claims = Claims(holdings)
        halts, observes = told.halts, self._ports.observes()

        def is_halted(name: str) -> bool:
            return bool({"*", name} & set(halts()))

        return World(
            kube=self._ports.kube,
            watches=self._watches,
            clock=self._ports.clock,
            claims=self._claims,
            resources=resources,
            by_group=_by_group(resources),
            not_served=_not_served(resources),
            defined=frozenset(definitions),
            bundle_of=self._bundle_of,
            may_write=lambda name: not observes and not is_halted(name) and not told.superseded(),
            is_halted=is_halted,
            may_prune=told.may_prune,
            observes=observes,
        )

    def _may_be_served(self, kind: ApiKind, definitions: Mapping[GroupKind, ObjectKey]) -> bool:
        """False while the definition that brings a kind is not established: asking would be in vain."""
        definition = definitions.get((kind[0].rpartition("/")[0], kind[1]))
        if definition is None:
            return True
        live = self._watches.live(definition)
        return live is not None and live.health is not None and live.health.current

    def _bundle_of(self, apply_set: str, key: ObjectKey) -> str | None:
        holding = self._by_apply_set.get(apply_set)
        if holding is None:
            return None
        return holding.name if holding.claims(key) else ""

    async def _run(self, world: World, holdings: list[Holding]) -> dict[str, list[Happened]]:
        slots = asyncio.Semaphore(BUNDLES_AT_ONCE)
        happened: dict[str, list[Happened]] = {}

        async def run(holding: Holding) -> None:
            async with slots:
                with holding.unfinished():
                    told = await run_bundle(world, holding)
            if told:
                happened.setdefault(aspect_of(holding.membership.id), []).extend(told)

        if len(holdings) == 1:
            await run(holdings[0])
        else:
            async with asyncio.TaskGroup() as group:
                for holding in holdings:
                    group.create_task(run(holding))
        return happened

    async def _run_without_entry(self, world: World, holding: Holding) -> None:
        id_ = holding.membership.id
        if holding.retired is None:
            holding.dirty, holding.due_at_s = False, None
            holding.state = kept_state(world, holding)
            return
        holding.pruned = max(holding.pruned, self._receipts.get(id_, 0))
        with holding.unfinished():
            is_done = await run_retired(world, holding, self._keep_receipt)
        if is_done:
            self._removed[id_] = removed_state(world, holding.retired, holding.state, holding.pruned)
            del self._holdings[id_], self._by_apply_set[apply_set_id(parent_name(id_))]

    async def _keep_receipt(self, id_: str, count: int) -> None:
        self._receipts = {one: number for one, number in self._receipts.items() if one in self._retired} | {
            id_: count
        }
        await self._ports.keep.keep({RECEIPTS: self._receipts})

    def _watched(self, world: World) -> dict[GroupKind, Resource]:
        kinds = {kind for holding in self._holdings.values() for kind in holding.membership.kinds()}
        return {kind: world.by_group[kind] for kind in kinds if kind in world.by_group}

    def _outcome(self, told: Told, world: World, happened: dict[str, list[Happened]]) -> Outcome:
        if told.superseded():
            # What stands half-way is not reported: the next pass follows at once.
            for holding in self._holdings.values():
                holding.dirty = True
            return Outcome(happened=happened, again_in_s=0.0)
        for id_, retired in self._retired.items():
            if id_ not in self._holdings and id_ not in self._removed:
                count = self._receipts.get(id_, 0)
                self._removed[id_] = removed_state(world, retired, None, count)
        self._removed = {id_: state for id_, state in self._removed.items() if id_ in self._retired}
        states = [one.state for one in self._holdings.values() if one.state is not None]
        by_aspect: dict[str, list[BundleState]] = {f"{CAPABILITY}-{n}": [] for n in range(8)}
        for state in [*states, *self._removed.values()]:
            by_aspect[aspect_of(state.id)].append(state)
        bodies = {
            aspect: BundlesState(bundles=within_bounds(many)).as_json() for aspect, many in by_aspect.items()
        }
        return Outcome(bodies, happened, self._again_in_s())

    def _again_in_s(self) -> float | None:
        if any(holding.dirty for holding in self._holdings.values()):
            return 0.0
        now_s = self._ports.clock.monotonic_s()
        waits = [one.due_at_s - now_s for one in self._holdings.values() if one.due_at_s is not None]
        if (sweep_in_s := self._watches.sweep_in_s) is not None:
            waits.append(sweep_in_s)
        return max(0.0, min(waits)) if waits else None


def _not_served(resources: Mapping[ApiKind, Resource | None]) -> frozenset[GroupKind]:
    missing = {
        (api.rpartition("/")[0], kind) for (api, kind), resource in resources.items() if resource is None
    }
    return frozenset(missing - _by_group(resources).keys())


def _by_group(resources: Mapping[ApiKind, Resource | None]) -> dict[GroupKind, Resource]:
    """By group and kind: any version will do to see and to delete an object."""
    found = {}
    for (_, kind), resource in sorted(resources.items()):
        if resource is not None:
            found[(resource.group, kind)] = resource
    return found
