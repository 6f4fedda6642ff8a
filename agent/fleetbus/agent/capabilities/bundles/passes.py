"""One pass over one bundle: plan, record what is to be made, apply, prune, record what came of it, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fleetbus.agent.capabilities.bundles.absence import surely_gone
from fleetbus.agent.capabilities.bundles.apply import Done, Hands, apply_levels, prune_levels, write_record
from fleetbus.agent.capabilities.bundles.claims import Claims
from fleetbus.agent.capabilities.bundles.contest import put_back
from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.findings import find_health
from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.judge import bundle_state
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, GroupKind, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import ApiKind, read_existing, read_membership
from fleetbus.agent.capabilities.bundles.ownership import Membership, Recorded
from fleetbus.agent.capabilities.bundles.plan import ApplyStep, Plan, Seen, Wanted, plan
from fleetbus.agent.capabilities.bundles.refusals import object_state
from fleetbus.agent.capabilities.bundles.stories import contested, drift_corrected, pruned
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import both, pause_s
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.capabilities.bundles import (
    REASON_CONTESTED,
    REASON_CRD_WAITING,
    REASON_KIND_UNKNOWN,
    REASON_OWNED_BY_OTHER,
    BundleEntry,
    ObjectState,
)
from fleetbus.schemas.errors import FleetbusError, KubeConflict, KubeUnavailable
from fleetbus.schemas.events import Happened

_AGAIN_S = {REASON_CRD_WAITING: 0.2, REASON_KIND_UNKNOWN: 15.0}
_AGAIN_REFUSED_S = 30.0
_AGAIN_GOING_S = 5.0


@dataclass(frozen=True, slots=True)
class World:
    """What all bundles of one pass share."""

    kube: Kube
    watches: Watches
    clock: Clock
    claims: Claims
    resources: Mapping[ApiKind, Resource | None]
    """Kinds by apiVersion and kind; None for one that is not served, none at all while it is being asked."""
    by_group: Mapping[GroupKind, Resource]
    defined: frozenset[GroupKind]
    """Kinds whose CustomResourceDefinition is in a bundle."""
    bundle_of: Callable[[str, ObjectKey], str | None]
    may_write: Callable[[str], bool]
    is_halted: Callable[[str], bool]


@dataclass(slots=True)
class _Pass:
    """What a pass works with, and what it gathers."""

    holding: Holding
    entry: BundleEntry
    objects: Mapping[ObjectKey, DesiredObject]
    planned: Plan = field(default_factory=Plan)
    done: Done = field(default_factory=Done)
    happened: list[Happened] = field(default_factory=list)
    is_unsure: bool = False
    """Something that a watch does not show is there, or could not be looked at."""


async def run_bundle(world: World, holding: Holding) -> list[Happened]:
    """Bring one bundle where it is told to be, as far as it goes now; sets its state and when it is due again.

    Nothing that goes wrong with it is raised, but what nobody foresaw.
    """
    if holding.entry is None:
        return []
    holding.dirty, holding.withheld, holding.due_at_s = False, False, None
    one = _Pass(holding, holding.entry, holding.objects or {})
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
            one.done.unreachable = error.sentence()
    _conclude(world, one)
    return one.happened


async def _work(world: World, one: _Pass) -> None:
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
    if planned.empty and holding.membership.version and holding.membership.name == one.entry.name:
        await _settle(world, one, dict(holding.membership.objects))
        return
    if not world.may_write(one.entry.name):
        one.done.stopped = True
        return
    steps = [step for level in planned.apply for step in level]
    unseen = {
        step.desired.key: resource
        for step in steps
        if step.cause == "new" and (resource := world.resources.get(_kind(step.desired))) is not None
    }
    existing, _ = await both(read_existing(world.kube, unseen), _intend(world, one, steps))
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


def _wanted(one: _Pass) -> Wanted:
    membership = one.holding.membership
    return Wanted(membership.apply_set, one.objects, one.entry.prune, one.entry.released, membership.settled)


def _seen(world: World, one: _Pass) -> Seen:
    holding = one.holding
    recorded = holding.membership.objects
    served = world.by_group.keys()
    return Seen(
        recorded=recorded,
        live=world.watches.live,
        synced=world.watches.synced,
        gone={kind for kind in holding.membership.kinds() if kind not in served},
        refused=_refused(world, one),
        wanted_elsewhere={
            key for key in recorded if key not in one.objects and world.claims.other(key, holding) is not None
        },
        contests=holding.contests,
        now_s=world.clock.monotonic_s(),
    )


def _refused(world: World, one: _Pass) -> dict[ObjectKey, ObjectState]:
    """Objects that are not tried: their kind is not there, or they belong to another bundle."""
    found: dict[ObjectKey, ObjectState] = {}
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
    return object_state(
        key,
        REASON_KIND_UNKNOWN,
        f"the cluster has no kind {key.kind} in {desired.api_version}: install its CustomResourceDefinition",
    )


def _kind(desired: DesiredObject) -> ApiKind:
    return (desired.api_version, desired.key.kind)


def _note_contests(one: _Pass) -> None:
    for key, contest in one.planned.contests.items():
        known = one.holding.contests.get(key)
        if known is None or not known.rests_until_s:
            one.happened.append(contested(one.entry, key, contest))
        one.holding.contests[key] = contest


async def _intend(world: World, one: _Pass, steps: list[ApplyStep]) -> None:
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


def _hands(world: World, one: _Pass) -> Hands:
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


def _all_applied(one: _Pass) -> bool:
    """Whether nothing but a contest is in the way: what replaces a pruned object stands before it goes."""
    return not one.done.refused and all(one_.reason == REASON_CONTESTED for one_ in one.planned.refused)


def _tell(one: _Pass, now_s: float) -> None:
    """What the bodies do not show: what was put back, and what was pruned."""
    contests = one.holding.contests
    put_backs = [step for step, _ in one.done.applied.values() if step.cause in ("drifted", "deleted")]
    for step in put_backs:
        key = step.desired.key
        contests[key] = put_back(contests.get(key), step.desired.digest, step.editor, now_s)
    one.happened += drift_corrected(one.entry, put_backs)
    if one.done.pruned:
        one.happened.append(pruned(one.entry, one.done.pruned))


def _members_after(one: _Pass) -> dict[ObjectKey, Recorded]:
    objects = dict(one.holding.membership.objects)
    for key in one.planned.forget:
        objects.pop(key, None)
    for key, (_, recorded) in one.done.applied.items():
        objects[key] = recorded
    return objects


async def _settle(world: World, one: _Pass, objects: dict[ObjectKey, Recorded]) -> None:
    """Write the record if it says something new; it is settled when nothing is left to do."""
    before: Membership = one.holding.membership
    is_settled = (
        one.done.goes_on
        and _all_applied(one)
        and not (one.planned.held or one.planned.prune or one.planned.going)
    )
    after = replace(
        before,
        name=one.entry.name,
        objects=objects,
        settled=len(objects) if is_settled else before.settled,
    )
    if after != before:
        one.holding.membership = await write_record(world.kube, after)


def _conclude(world: World, one: _Pass) -> None:
    """The state to report, and when to look again."""
    holding, done, planned = one.holding, one.done, one.planned
    refused = {state.object: state for state in planned.refused}
    refused |= {state.object: state for state in done.refused.values()}
    for key in done.applied:
        refused.pop(key.shown(), None)
    steps = sum(map(len, planned.apply)) + sum(map(len, planned.prune))
    left = max(0, steps - len(done.applied) - len(done.pruned) - len(done.refused))
    halted = done.stopped and world.is_halted(one.entry.name)
    holding.withheld = halted
    findings = find_health(one.objects, holding.membership, world.watches, tuple(refused.values()))
    findings = replace(
        findings,
        held=planned.held,
        drifted=sum(state.reason == REASON_CONTESTED for state in refused.values()),
        withheld=max(left, 1) if halted else 0,
        unfinished=left if not halted and not done.unreachable else 0,
        missing=holding.missing,
        unreachable=done.unreachable,
    )
    holding.state = bundle_state(one.entry, findings, holding.state, world.clock.now())
    again_s = _again_s(world, one, refused, left)
    if again_s is not None:
        holding.due_at_s = world.clock.monotonic_s() + again_s


def _again_s(world: World, one: _Pass, refused: Mapping[str, ObjectState], left: int) -> float | None:
    holding, clock = one.holding, world.clock
    waits: list[float] = []
    if one.done.unreachable or holding.missing or holding.stale:
        holding.failures += 1
        waits.append(clock.jitter(pause_s(holding.failures)))
    reasons = {state.reason for state in refused.values()} - {REASON_CONTESTED}
    holding.refusals = holding.refusals + 1 if reasons else 0
    for reason in reasons:
        refused_s = min(_AGAIN_REFUSED_S, 2.0 ** min(holding.refusals - 2, 8))
        waits.append(clock.jitter(_AGAIN_S.get(reason, refused_s)))
    for contest in one.planned.contests.values():
        waits.append(max(1.0, contest.rests_until_s - clock.monotonic_s()))
    if one.planned.going or one.done.pruned:
        waits.append(clock.jitter(_AGAIN_GOING_S))
    if one.is_unsure or (left and not one.done.stopped):
        waits.append(clock.jitter(0.2))
    return min(waits, default=None)
