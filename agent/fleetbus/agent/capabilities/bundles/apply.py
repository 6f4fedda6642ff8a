"""Steps → world: applies with bounded concurrency, deletions, and the parent's record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.health import is_watched_whole
from fleetbus.agent.capabilities.bundles.live import live_of
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, ObjectKey, body_of
from fleetbus.agent.capabilities.bundles.observe import CONFIG_MAP
from fleetbus.agent.capabilities.bundles.ownership import HOME, Membership, Recorded, parent_object
from fleetbus.agent.capabilities.bundles.plan import ApplyStep, PruneStep, judge_existing
from fleetbus.agent.capabilities.bundles.refusals import object_state, refusal
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.capabilities.bundles import FIELD_MANAGER, Adopt, ObjectState
from fleetbus.schemas.errors import AlreadyExists, FleetbusError, KubeConflict, KubeUnavailable, NotFound

IN_FLIGHT = 16
# So many answers missing in a row are the apiserver's trouble and not one object's.
_GIVE_UP_AFTER = 3

Existing = Mapping[ObjectKey, Mapping[str, Any] | FleetbusError]


@dataclass(frozen=True, slots=True)
class Hands:
    """What applying one bundle needs. `may_write` is asked before every write."""

    kube: Kube
    watches: Watches
    apply_set: str
    bundle: str
    adopt: Adopt
    resource_of: Callable[[DesiredObject], Resource]
    bundle_of: Callable[[str, ObjectKey], str | None]
    may_write: Callable[[], bool]


@dataclass(slots=True)
class Done:
    """What came of it. `unreachable`: the apiserver did not answer, and the rest was left."""

    applied: dict[ObjectKey, tuple[ApplyStep, Recorded]] = field(default_factory=dict)
    refused: dict[ObjectKey, ObjectState] = field(default_factory=dict)
    pruned: list[ObjectKey] = field(default_factory=list)
    stopped: bool = False
    unreachable: str = ""
    _silent: int = 0

    @property
    def goes_on(self) -> bool:
        return not self.stopped and not self.unreachable

    def answered(self) -> None:
        self._silent = 0

    def silence(self, error: KubeUnavailable) -> None:
        self._silent += 1
        if self._silent >= _GIVE_UP_AFTER:
            self.unreachable = error.message


async def apply_levels(
    hands: Hands, levels: Sequence[Sequence[ApplyStep]], existing: Existing, done: Done
) -> None:
    """One level after the other; an object that fails stops no other."""
    for level in levels:
        steps = iter(level)

        async def work(steps: Iterator[ApplyStep] = steps) -> None:
            for step in steps:
                if not done.goes_on:
                    return
                if not hands.may_write():
                    done.stopped = True
                    return
                await _apply_one(hands, step, existing.get(step.desired.key), done)

        if len(level) == 1:
            await work()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(level))):
                    group.create_task(work())


async def _apply_one(
    hands: Hands, step: ApplyStep, exists: Mapping[str, Any] | FleetbusError | None, done: Done
) -> None:
    key = step.desired.key
    force = step.force
    if isinstance(exists, FleetbusError):
        done.refused[key] = refusal(key, exists)
        return
    if exists is not None:
        if (refused := verdict(hands, key, exists)) is not None:
            done.refused[key] = refused
            return
        force = True
    try:
        try:
            await _send(hands, step, force, done)
        except KubeConflict:
            if force:
                raise
            if (refused := await _look_at_owner(hands, step)) is not None:
                done.refused[key] = refused
                return
            await _send(hands, step, True, done)
    except KubeUnavailable as error:
        done.refused[key] = refusal(key, error)
        done.silence(error)
    except FleetbusError as error:
        done.refused[key] = refusal(key, error)
        done.answered()


async def _send(hands: Hands, step: ApplyStep, force: bool, done: Done) -> None:
    desired = step.desired
    key, whole = desired.key, is_watched_whole(desired.key.group_kind)
    answer = await hands.kube.apply(
        hands.resource_of(desired),
        key.namespace,
        key.name,
        body_of(desired, hands.apply_set, hands.bundle),
        field_manager=FIELD_MANAGER,
        force=force,
        metadata_only=not whole,
    )
    live = live_of(answer, whole)
    hands.watches.put(key, live)
    done.applied[key] = (step, Recorded(desired.digest, live.hash, desired.api_version.rpartition("/")[2]))
    done.answered()


def verdict(hands: Hands, key: ObjectKey, metadata: Mapping[str, Any]) -> ObjectState | None:
    """Why an object that exists may not be taken; None when it may."""
    judged = judge_existing(
        metadata, hands.apply_set, hands.adopt, lambda apply_set: hands.bundle_of(apply_set, key)
    )
    return object_state(key, judged.reason, judged.message) if judged.reason else None


async def _look_at_owner(hands: Hands, step: ApplyStep) -> ObjectState | None:
    """Somebody else has fields that we want: whose object is it?"""
    key = step.desired.key
    try:
        found = await hands.kube.get(
            hands.resource_of(step.desired), key.namespace, key.name, metadata_only=True
        )
    except NotFound:
        return None
    return verdict(hands, key, found["metadata"])


async def prune_levels(
    kube: Kube,
    watches: Watches,
    levels: Sequence[Sequence[PruneStep]],
    resource_of: Callable[[ObjectKey], Resource | None],
    may_write: Callable[[], bool],
    done: Done,
) -> None:
    """Ask for the deletion of each object as it was seen; one that changed meanwhile is left for another look.

    The next level follows when this one has gone, unless nothing of it could be deleted.
    """
    for level in levels:
        steps, before = iter(level), len(done.pruned)

        async def work(steps: Iterator[PruneStep] = steps) -> None:
            for step in steps:
                if not done.goes_on:
                    return
                if not may_write():
                    done.stopped = True
                    return
                resource = resource_of(step.key)
                if resource is not None:
                    await _delete_one(kube, watches, resource, step, done)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(level))):
                group.create_task(work())
        if len(done.pruned) > before or len(done.refused) < len(level):
            return


async def _delete_one(kube: Kube, watches: Watches, resource: Resource, step: PruneStep, done: Done) -> None:
    key, live = step.key, step.live
    version = str(live.version) if live.version else ""
    try:
        await kube.delete(resource, key.namespace, key.name, uid=live.uid, resource_version=version)
    except KubeConflict:
        return
    except KubeUnavailable as error:
        done.refused[key] = refusal(key, error)
        done.silence(error)
    except FleetbusError as error:
        done.refused[key] = refusal(key, error)
    else:
        watches.mark_going(key)
        done.pruned.append(key)
        done.answered()


async def write_record(kube: Kube, membership: Membership) -> Membership:
    """The parent with this record; as it stands now. Raises KubeConflict when somebody else wrote it."""
    body = parent_object(membership)
    try:
        if membership.version:
            found = await kube.replace(CONFIG_MAP, HOME, membership.parent, body)
        else:
            found = await kube.create(CONFIG_MAP, HOME, body)
    except (AlreadyExists, NotFound) as error:
        raise KubeConflict("the record of an apply set was changed by somebody else") from error
    return replace(membership, version=str(found["metadata"].get("resourceVersion") or ""))
