"""A bundle that is no more for this cluster: its objects removed or kept, its apply set ended, a receipt left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from fleetbus.agent.capabilities.bundles.absence import surely_gone
from fleetbus.agent.capabilities.bundles.apply import IN_FLIGHT, Done, prune_levels, write_record
from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.judge import prune_not_approved
from fleetbus.agent.capabilities.bundles.objects import PART_OF, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import CONFIG_MAP, read_membership
from fleetbus.agent.capabilities.bundles.ownership import HOME
from fleetbus.agent.capabilities.bundles.plan import PruneStep, Seen, Wanted, departing
from fleetbus.agent.capabilities.bundles.plan import prune_levels as in_levels
from fleetbus.agent.capabilities.bundles.refusals import refusal
from fleetbus.agent.capabilities.bundles.world import World
from fleetbus.agent.text import cut
from fleetbus.schemas.capabilities.bundles import (
    APPLIED,
    BUNDLE_ANNOTATION,
    REASON_CLUSTER_UNREACHABLE,
    REASON_HALTED,
    REASON_KEPT,
    REASON_OBSERVE_ONLY,
    REASON_PROGRESSING,
    REASON_PRUNE_HELD,
    REASON_PRUNE_NOT_APPROVED,
    REASON_REMOVED,
    BundleState,
)
from fleetbus.schemas.conditions import Condition, Status, put, summarise
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.errors import FleetbusError, KubeConflict, KubeUnavailable, NotFound

KeepReceipt = Callable[[str, int], Awaitable[None]]
"""(bundle id, how many objects went) is kept, before anything is forgotten."""

_AGAIN_S = 2.0
_AGAIN_FAILED_S = 15.0
_AGAIN_OBSERVING_S = 30.0


async def run_retired(world: World, holding: Holding, keep_receipt: KeepReceipt) -> bool:
    """Take the next steps of a retirement; whether it is done. Sets the bundle's state."""
    retired = holding.retired
    if retired is None:
        return False
    holding.dirty, holding.withheld, holding.due_at_s = False, False, None
    try:
        return await _step(world, holding, retired, keep_receipt)
    except KubeConflict:
        holding.stale = True
        _later(world, holding, 0.1)
        _report(world, holding, retired, "Unknown", REASON_PROGRESSING, "the record is read again")
    except FleetbusError as error:
        _later(world, holding, _AGAIN_S if isinstance(error, KubeUnavailable) else _AGAIN_FAILED_S)
        _report(world, holding, retired, "Unknown", REASON_CLUSTER_UNREACHABLE, error.sentence())
    return False


async def _step(world: World, holding: Holding, retired: Retired, keep_receipt: KeepReceipt) -> bool:
    if holding.stale:
        holding.membership = await read_membership(world.kube, retired.id, retired.name)
        holding.stale = False
    membership = holding.membership
    seen = _seen(world, holding)
    prunes, forget, going = departing(Wanted(membership.apply_set, {}), seen)
    if world.observes:
        return await _observe(world, holding, retired, len(prunes), keep_receipt)
    if not world.may_write(retired.name):
        _withhold(world, holding, retired)
        return False
    done = Done()
    if retired.policy == "Remove":
        if retired.count is not None and len(prunes) > retired.count:
            said = f"would remove {len(prunes)} objects, {retired.count} were agreed to; nothing was removed"
            _report(world, holding, retired, "False", REASON_PRUNE_HELD, said, held=len(prunes))
            return False
        if not world.may_prune(retired.id, len(prunes)):
            holding.withheld = True
            said = prune_not_approved(len(prunes))
            _report(world, holding, retired, "Unknown", REASON_PRUNE_NOT_APPROVED, said)
            return False
        await _remove(world, holding, retired, prunes, going, done)
        if done.pruned:
            holding.pruned += len(done.pruned)
            await keep_receipt(retired.id, holding.pruned)
    else:
        await _release(world, holding, [step.key for step in prunes], done)
    if done.stopped:
        _withhold(world, holding, retired)
        return False
    gone = await surely_gone(world.kube, world.watches, world.by_group, membership.apply_set, forget)
    left = {key: value for key, value in membership.objects.items() if key not in gone}
    staying = [key for key in left if (live := world.watches.live(key)) is not None and live.keep]
    if retired.policy == "Remove":
        await _release(world, holding, staying, done)
    waiting = len(left) - len(staying)
    if retired.policy == "Keep":
        waiting = 0 if not done.refused and not going else len(going) + len(done.refused)
        waiting += sum(key.group_kind not in seen.synced and key.group_kind not in seen.gone for key in left)
    if waiting or done.refused or done.unreachable:
        if len(left) != len(membership.objects):
            holding.membership = await write_record(world.kube, replace(membership, objects=left))
        _wait(world, holding, retired, waiting, going, done)
        return False
    await keep_receipt(retired.id, holding.pruned)
    await world.kube.delete(CONFIG_MAP, HOME, membership.parent)
    return True


async def _observe(
    world: World, holding: Holding, retired: Retired, prunes: int, keep_receipt: KeepReceipt
) -> bool:
    """What was never recorded is gone already; of the rest it is said what would become of it."""
    if not holding.membership.version:
        await keep_receipt(retired.id, holding.pruned)
        return True
    would = f"remove {prunes} objects" if retired.policy == "Remove" else "let go of its objects"
    _report(
        world, holding, retired, "Unknown", REASON_OBSERVE_ONLY, f"would {would}; this agent may only observe"
    )
    _later(world, holding, _AGAIN_OBSERVING_S)
    return False


def _withhold(world: World, holding: Holding, retired: Retired) -> None:
    """Nothing may be written now; what was told newly brings the next pass, and so does the end of a halt."""
    holding.withheld = world.is_halted(retired.name)
    _report(world, holding, retired, "Unknown", REASON_HALTED, "a halt keeps its objects")


def _seen(world: World, holding: Holding) -> Seen:
    recorded = holding.membership.objects
    return Seen(
        recorded=recorded,
        live=world.watches.live,
        synced=world.watches.synced,
        gone=world.not_served,
        wanted_elsewhere={key for key in recorded if world.claims.owner(key) is not None},
    )


async def _remove(
    world: World,
    holding: Holding,
    retired: Retired,
    prunes: Sequence[PruneStep],
    going: Sequence[PruneStep],
    done: Done,
) -> None:
    await prune_levels(
        world.kube,
        world.watches,
        in_levels(prunes, going),
        lambda key: world.by_group.get(key.group_kind),
        lambda: world.may_write(retired.name),
        done,
    )


async def _release(world: World, holding: Holding, keys: Sequence[ObjectKey], done: Done) -> None:
    """Let objects be nobody's: they stay as they are, without our marks."""
    patch = {"metadata": {"labels": {PART_OF: None}, "annotations": {BUNDLE_ANNOTATION: None}}}
    rest = iter(keys)

    async def work(keys: Iterator[ObjectKey] = rest) -> None:
        for key in keys:
            resource = world.by_group.get(key.group_kind)
            if not done.goes_on:
                return
            if not world.may_write(holding.name):
                done.stopped = True
                return
            if resource is None:
                continue
            try:
                await world.kube.merge_patch(resource, key.namespace, key.name, patch)
            except NotFound:
                continue
            except KubeUnavailable as error:
                done.refused[key] = refusal(key, error)
                done.silence(error)
            except FleetbusError as error:
                done.refused[key] = refusal(key, error)
            else:
                done.answered()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(IN_FLIGHT, len(keys))):
            group.create_task(work())


def _wait(
    world: World,
    holding: Holding,
    retired: Retired,
    waiting: int,
    going: Sequence[PruneStep],
    done: Done,
) -> None:
    held_by = [f"{step.key.shown()} by {step.live.finalizers}" for step in going if step.live.finalizers]
    said = f"{waiting} objects are still there"
    if held_by:
        said += f"; finalizers hold {', '.join(held_by[:3])}"
    for refused in done.refused.values():
        said += f"; {refused.object}: {refused.message}"
        break
    status: Status = "False" if done.refused else "Unknown"
    _report(world, holding, retired, status, REASON_PROGRESSING, said)
    _later(world, holding, _AGAIN_FAILED_S if done.refused else _AGAIN_S)


def _later(world: World, holding: Holding, seconds: float) -> None:
    holding.due_at_s = world.clock.monotonic_s() + world.clock.jitter(seconds)


def _report(
    world: World,
    holding: Holding,
    retired: Retired,
    status: Status,
    reason: str,
    message: str,
    *,
    held: int = 0,
) -> None:
    before = holding.state
    holding.state = _state(
        retired.id, retired.name, before, status, reason, message, world, len(holding.membership.objects)
    ).model_copy(update={"held_prunes": held, "pruned": holding.pruned})


def removed_state(world: World, retired: Retired, before: BundleState | None, pruned: int) -> BundleState:
    """The receipt of a retirement that is done."""
    said = f"{pruned} objects were removed" if retired.policy == "Remove" else "its objects were kept"
    state = _state(retired.id, retired.name, before, "True", REASON_REMOVED, said, world, 0)
    return state.model_copy(update={"removed": True, "pruned": pruned})


def kept_state(world: World, holding: Holding) -> BundleState:
    """An apply set that stands in no list: absence deletes nothing."""
    membership = holding.membership
    said = f"{len(membership.objects)} objects are left, and nothing says what is to become of them"
    return _state(
        membership.id,
        membership.name,
        holding.state,
        "Unknown",
        REASON_KEPT,
        said,
        world,
        len(membership.objects),
    )


def _state(
    id_: str,
    name: str,
    before: BundleState | None,
    status: Status,
    reason: str,
    message: str,
    world: World,
    objects: int,
) -> BundleState:
    now = world.clock.now()
    applied = Condition(
        type=APPLIED, status=status, reason=reason, message=cut(message), last_transition_at=now
    )
    old = tuple(one for one in before.conditions if one.type != "Healthy") if before else ()
    conditions = put(old, applied)
    return BundleState(
        id=id_,
        name=name,
        generation=before.generation if before else 0,
        revision=before.revision if before else "",
        artifact=before.artifact if before else "",
        applied_artifact=before.applied_artifact if before else "",
        objects=objects,
        conditions=put(conditions, summarise(conditions, now)),
    )
