"""One pass over one bundle: plan, record what is to be made, apply, prune, record what came of it, judge."""

from __future__ import annotations

from dataclasses import replace

from fleetbus.agent.capabilities.bundles.absence import surely_gone
from fleetbus.agent.capabilities.bundles.apply import Hands, apply_levels, prune_levels, write_record
from fleetbus.agent.capabilities.bundles.conclusion import conclude
from fleetbus.agent.capabilities.bundles.contest import put_back
from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import ApiKind, read_existing, read_membership
from fleetbus.agent.capabilities.bundles.ownership import HOME, Membership, Recorded, is_agents_own
from fleetbus.agent.capabilities.bundles.plan import ApplyStep, Seen, Wanted, plan
from fleetbus.agent.capabilities.bundles.refusals import object_state, refusal
from fleetbus.agent.capabilities.bundles.rehearse import rehearse, unseen
from fleetbus.agent.capabilities.bundles.stories import contested, drift_corrected, pruned
from fleetbus.agent.capabilities.bundles.world import Pass, World
from fleetbus.runtime.loop import both
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.bundles import (
    REASON_APPLY_REFUSED,
    REASON_CONTESTED,
    REASON_CRD_WAITING,
    REASON_KIND_UNKNOWN,
    REASON_OWNED_BY_OTHER,
    REASON_PROGRESSING,
    ObjectState,
)
from fleetbus.schemas.errors import FleetbusError, KubeConflict, KubeUnavailable
from fleetbus.schemas.events import Happened


async def run_bundle(world: World, holding: Holding) -> list[Happened]:
    """Bring one bundle where it is told to be, as far as it goes now; sets its state and when it is due again.

    Nothing that goes wrong with it is raised, but what nobody foresaw.
    """
    if holding.entry is None:
        return []
    holding.dirty, holding.withheld, holding.due_at_s = False, False, None
    one = Pass(holding, holding.entry, holding.objects or {})
    if holding.objects is not None:
        try:
            await _work(world, one)
            holding.failures = 0
        except KubeConflict:
            holding.stale = True
            one.done.stopped = True
        except KubeUnavailable as error:
            one.done.unreachable = error.message
        except FleetbusError as error:
            parent = ObjectKey("", "ConfigMap", HOME, holding.membership.parent)
            one.done.refused[parent] = refusal(parent, error)
    conclude(world, one)
    return one.happened


async def _work(world: World, one: Pass) -> None:
    holding = one.holding
    if holding.stale:
        holding.membership = await read_membership(world.kube, one.entry.id, one.entry.name)
        holding.stale = False
    planned = plan(_wanted(one), _seen(world, one))
    if planned.forget:
        apply_set = holding.membership.apply_set
        gone = await surely_gone(world.kube, world.watches, world.by_group, apply_set, planned.forget)
        one.is_unsure = len(gone) < len(planned.forget)
        planned = replace(planned, forget=tuple(gone))
    one.planned = planned
    _note_contests(one)
    if world.observes:
        await rehearse(world, _hands(world, one), one)
        return
    if not world.may_prune(one.entry.id, planned.pruned):
        one.unapproved = planned.pruned
        one.planned = planned = replace(planned, prune=())
    if planned.empty and holding.membership.version and holding.membership.name == one.entry.name:
        await _settle(world, one, dict(holding.membership.objects))
        return
    if not world.may_write(one.entry.name):
        one.done.stopped = True
        return
    steps = [step for level in planned.apply for step in level]
    existing, _ = await both(read_existing(world.kube, unseen(world, steps)), _intend(world, one, steps))
    hands = _hands(world, one)
    await apply_levels(hands, planned.apply, existing, one.done)
    if planned.prune and one.done.goes_on and _all_applied(one):
        await prune_levels(
            world.kube,
            world.watches,
            planned.prune,
            lambda key: world.by_group.get(key.group_kind),
            lambda: world.may_write(one.entry.name),
            one.done,
        )
    _tell(one, world.clock.monotonic_s())
    await _settle(world, one, _members_after(one))


def _wanted(one: Pass) -> Wanted:
    membership = one.holding.membership
    return Wanted(membership.apply_set, one.objects, one.entry.prune, one.entry.released, membership.settled)


def _seen(world: World, one: Pass) -> Seen:
    holding = one.holding
    recorded = holding.membership.objects
    return Seen(
        recorded=recorded,
        live=world.watches.live,
        synced=world.watches.synced,
        gone=world.not_served,
        refused=_refused(world, one),
        wanted_elsewhere={
            key for key in recorded if key not in one.objects and world.claims.other(key, holding) is not None
        },
        contests=holding.contests,
        now_s=world.clock.monotonic_s(),
    )


def _refused(world: World, one: Pass) -> dict[ObjectKey, ObjectState]:
    """Objects that are not tried: the agent's own, of a kind that is not there, or another bundle's."""
    found: dict[ObjectKey, ObjectState] = {
        key: object_state(key, REASON_APPLY_REFUSED, "it is the agent's own place, and no bundle's")
        for key in one.objects
        if is_agents_own(key)
    }
    for key in world.claims.shared & one.objects.keys():
        if (owner := world.claims.other(key, one.holding)) is not None:
            found[key] = object_state(key, REASON_OWNED_BY_OTHER, f"belongs to bundle {owner.name}")
    if any(world.resources.get(kind) is None for kind in one.holding.kinds):
        for key, desired in one.objects.items():
            if world.resources.get(_kind(desired)) is None:
                found[key] = _kind_missing(world, desired)
    return found


def _kind_missing(world: World, desired: DesiredObject) -> ObjectState:
    key = desired.key
    if key.group_kind in world.defined:
        return object_state(key, REASON_CRD_WAITING, f"the definition of {key.kind} is not established yet")
    if _kind(desired) not in world.resources:
        return object_state(key, REASON_PROGRESSING, f"the API server is being asked for the kind {key.kind}")
    return object_state(
        key,
        REASON_KIND_UNKNOWN,
        f"the cluster has no kind {key.kind} in {desired.api_version}: install its CustomResourceDefinition",
    )


def _kind(desired: DesiredObject) -> ApiKind:
    return (desired.api_version, desired.key.kind)


def _note_contests(one: Pass) -> None:
    for key, contest in one.planned.contests.items():
        known = one.holding.contests.get(key)
        if known is None or not known.rests_until_s:
            one.happened.append(contested(one.entry, key, contest))
        one.holding.contests[key] = contest


async def _intend(world: World, one: Pass, steps: list[ApplyStep]) -> None:
    """Record what is about to be made, before it is made; nothing is written when nothing is new."""
    membership = one.holding.membership
    new = {
        step.desired.key: Recorded("", "", step.desired.api_version.rpartition("/")[2])
        for step in steps
        if step.desired.key not in membership.objects
    }
    if new or not membership.version:
        wanted = replace(membership, name=one.entry.name, objects={**membership.objects, **new})
        one.holding.membership = await write_record(world.kube, wanted)


def _hands(world: World, one: Pass) -> Hands:
    def resource_of(desired: DesiredObject) -> Resource:
        resource = world.resources.get(_kind(desired))
        if resource is None:
            raise KubeUnavailable(f"the kind {desired.key.kind} is not known")
        return resource

    return Hands(
        kube=world.kube,
        watches=world.watches,
        apply_set=one.holding.membership.apply_set,
        bundle=one.entry.name,
        adopt=one.entry.adopt,
        resource_of=resource_of,
        bundle_of=world.bundle_of,
        may_write=lambda: world.may_write(one.entry.name),
    )


def _all_applied(one: Pass) -> bool:
    """Whether nothing but a contest is in the way: what replaces a pruned object stands before it goes."""
    return not one.done.refused and all(one_.reason == REASON_CONTESTED for one_ in one.planned.refused)


def _tell(one: Pass, now_s: float) -> None:
    """What the bodies do not show: what was put back, and what was pruned."""
    contests = one.holding.contests
    put_backs = [step for step, _ in one.done.applied.values() if step.cause in ("drifted", "deleted")]
    for step in put_backs:
        key = step.desired.key
        contests[key] = put_back(contests.get(key), step.desired.digest, step.editor, now_s)
    one.happened += drift_corrected(one.entry, put_backs)
    if one.done.pruned:
        one.happened.append(pruned(one.entry, one.done.pruned))


def _members_after(one: Pass) -> dict[ObjectKey, Recorded]:
    objects = dict(one.holding.membership.objects)
    for key in one.planned.forget:
        objects.pop(key, None)
    for key, (_, recorded) in one.done.applied.items():
        objects[key] = recorded
    return objects


async def _settle(world: World, one: Pass, objects: dict[ObjectKey, Recorded]) -> None:
    """Write the record if it says something new; it is settled when nothing is left to do."""
    before: Membership = one.holding.membership
    is_settled = (
        one.done.goes_on
        and _all_applied(one)
        and not (one.planned.held or one.unapproved or one.planned.prune or one.planned.going)
    )
    after = replace(
        before,
        name=one.entry.name,
        objects=objects,
        settled=len(objects) if is_settled else before.settled,
    )
    if after != before:
        one.holding.membership = await write_record(world.kube, after)
