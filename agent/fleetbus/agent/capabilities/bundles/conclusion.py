"""The end of a pass: what is reported of the bundle, and when to look at it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleetbus.agent.capabilities.bundles.findings import find_health
from fleetbus.agent.capabilities.bundles.judge import bundle_state
from fleetbus.agent.capabilities.bundles.world import Pass, World
from fleetbus.runtime.loop import pause_s
from fleetbus.schemas.capabilities.bundles import (
    REASON_CONTESTED,
    REASON_CRD_WAITING,
    REASON_KIND_UNKNOWN,
    REASON_OBSERVE_ONLY,
    REASON_PROGRESSING,
    ObjectState,
)

_AGAIN_S = {
    REASON_CRD_WAITING: 0.2,
    REASON_PROGRESSING: 0.1,
    REASON_KIND_UNKNOWN: 15.0,
    REASON_OBSERVE_ONLY: 30.0,
}
_AGAIN_REFUSED_S = 30.0
_AGAIN_GOING_S = 5.0


def conclude(world: World, one: Pass) -> None:
    """The state to report, and when to look again."""
    holding, done, planned = one.holding, one.done, one.planned
    refused = {state.object: state for state in planned.refused}
    refused |= {state.object: state for state in done.refused.values()}
    for key in done.applied:
        refused.pop(key.shown(), None)
    steps = sum(map(len, planned.apply)) + sum(map(len, planned.prune))
    left = max(0, steps - len(done.applied) - len(done.pruned) - len(done.refused))
    halted = done.stopped and world.is_halted(one.entry.name)
    holding.withheld = halted or one.unapproved > 0
    findings = find_health(one.objects, holding.membership, world.watches, tuple(refused.values()))
    findings = replace(
        findings,
        held=planned.held,
        unapproved=one.unapproved,
        drifted=sum(state.reason == REASON_CONTESTED for state in refused.values()),
        withheld=max(left, 1) if halted else 0,
        unfinished=left if not halted and not done.unreachable else 0,
        missing=holding.missing,
        unreachable=done.unreachable,
        would=", ".join(
            f"{verb} {one.would[verb]}" for verb in ("create", "change", "remove") if one.would[verb]
        ),
    )
    holding.state = bundle_state(one.entry, findings, holding.state, world.clock.now())
    again_s = _again_s(world, one, refused, left)
    if again_s is not None:
        holding.due_at_s = world.clock.monotonic_s() + again_s


def _again_s(world: World, one: Pass, refused: Mapping[str, ObjectState], left: int) -> float | None:
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
