"""What is to be done for one bundle: desired objects, the record and what is live → ordered steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from fleetbus.agent.capabilities.bundles.contest import DELETED, Contest, drifted
from fleetbus.agent.capabilities.bundles.live import Live
from fleetbus.agent.capabilities.bundles.objects import (
    PART_OF,
    DesiredObject,
    GroupKind,
    ObjectKey,
    Order,
    order_of,
)
from fleetbus.agent.capabilities.bundles.ownership import Recorded
from fleetbus.schemas.capabilities.bundles import (
    REASON_APPLY_CONFLICT,
    REASON_CONTESTED,
    REASON_EXISTS,
    REASON_OWNED_BY_OTHER,
    Adopt,
    ObjectState,
    prune_limit,
)

Cause = Literal["new", "changed", "resumed", "drifted", "deleted"]


@dataclass(frozen=True, slots=True)
class ApplyStep:
    """Apply one object. `force` takes fields from others; without it their owner is looked at first."""

    desired: DesiredObject
    cause: Cause
    force: bool
    editor: str = ""


@dataclass(frozen=True, slots=True)
class PruneStep:
    """Delete one object, exactly as it was seen."""

    key: ObjectKey
    order: Order
    live: Live


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle is told to have in this cluster."""

    apply_set: str
    objects: Mapping[ObjectKey, DesiredObject]
    prune: bool = True
    released: int = 0
    settled: int = 0
    """How many members there were when all was applied and pruned last: what the brake is measured by."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the world.

    `synced`: kinds whose `live` is complete; of others nothing is concluded from absence. `gone`: kinds that
    the cluster does not serve. `refused`: objects that cannot be applied now, and why. `wanted_elsewhere`:
    objects that another bundle is told to have.
    """

    recorded: Mapping[ObjectKey, Recorded]
    live: Callable[[ObjectKey], Live | None]
    synced: Collection[GroupKind] = ()
    gone: Collection[GroupKind] = ()
    refused: Mapping[ObjectKey, ObjectState] = field(default_factory=dict)
    wanted_elsewhere: Collection[ObjectKey] = ()
    contests: Mapping[ObjectKey, Contest] = field(default_factory=dict)
    now_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, one level after the other; the prunes come last and only when all was applied.

    `forget`: members that are no more, or not ours. `held`: prunes that wait for a release. `pruned`: how
    many are to go, now or in a later pass. `going`: members that are being deleted. `contests`: objects that are
    left alone since somebody fights over them.
    """

    apply: tuple[tuple[ApplyStep, ...], ...] = ()
    prune: tuple[tuple[PruneStep, ...], ...] = ()
    refused: tuple[ObjectState, ...] = ()
    forget: tuple[ObjectKey, ...] = ()
    going: tuple[PruneStep, ...] = ()
    held: int = 0
    pruned: int = 0
    contests: Mapping[ObjectKey, Contest] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.apply or self.prune or self.forget)


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Applies for what is new, changed, drifted or deleted; prunes from the record only, braked."""
    steps: list[ApplyStep] = []
    refused: list[ObjectState] = []
    contests: dict[ObjectKey, Contest] = {}
    for key, desired in wanted.objects.items():
        recorded, live = seen.recorded.get(key), seen.live(key)
        if key in seen.refused:
            refused.append(seen.refused[key])
            continue
        if recorded and live and recorded.hash == live.hash and recorded.digest == desired.digest:
            continue
        step = _step(desired, recorded, live, wanted, seen)
        contest = _contest(step, seen) if step else None
        if contest is not None:
            contests[key] = contest
            refused.append(
                ObjectState(object=key.shown(), reason=REASON_CONTESTED, message=contest.message())
            )
        elif step is not None:
            steps.append(step)
    prunes, forget, going = departing(wanted, seen)
    held = 0
    if not wanted.prune:
        prunes = []
    elif len(prunes) > max(prune_limit(wanted.settled or len(seen.recorded)), wanted.released):
        held, prunes = len(prunes), []
    return Plan(
        apply=levels(steps, lambda step: step.desired.order),
        prune=prune_levels(prunes, going),
        refused=tuple(refused),
        forget=tuple(forget),
        going=tuple(going),
        held=held,
        pruned=len(prunes),
        contests=contests,
    )


def _contest(step: ApplyStep, seen: Seen) -> Contest | None:
    """The fight because of which a drift is left alone."""
    if step.cause not in ("drifted", "deleted"):
        return None
    desired = step.desired
    return drifted(seen.contests.get(desired.key), desired.digest, step.editor, seen.now_s)


def _step(
    desired: DesiredObject, recorded: Recorded | None, live: Live | None, wanted: Wanted, seen: Seen
) -> ApplyStep | None:
    is_missing = live is None and desired.key.group_kind in seen.synced
    if recorded is None or not recorded.confirmed:
        if live is not None and live.part_of == wanted.apply_set and live.hash:
            return ApplyStep(desired, "resumed", force=True)
        return ApplyStep(desired, "new", force=False)
    if recorded.digest != desired.digest:
        return ApplyStep(desired, "changed", force=not is_missing)
    if is_missing:
        return ApplyStep(desired, "deleted", force=False, editor=DELETED)
    if live is not None and live.hash != recorded.hash and not live.deleting:
        return ApplyStep(desired, "drifted", force=True, editor=live.editor)
    return None


def departing(wanted: Wanted, seen: Seen) -> tuple[list[PruneStep], list[ObjectKey], list[PruneStep]]:
    """Members that are not wanted: those to prune, those to forget, those that are going already.

    Only what the record names and what still carries both our label and our fields is ever pruned.
    """
    prunes: list[PruneStep] = []
    forget: list[ObjectKey] = []
    going: list[PruneStep] = []
    for key in seen.recorded:
        if key in wanted.objects:
            continue
        live = seen.live(key)
        if live is None:
            if key.group_kind in seen.synced or key.group_kind in seen.gone:
                forget.append(key)
        elif live.part_of != wanted.apply_set or not live.hash:
            forget.append(key)
        elif live.deleting:
            going.append(_prune(key, live))
        elif not live.keep and key not in seen.wanted_elsewhere:
            prunes.append(_prune(key, live))
    return prunes, forget, going


def _prune(key: ObjectKey, live: Live) -> PruneStep:
    first, _, rank = order_of(key.group_kind, None)
    return PruneStep(key, (first, live.order, rank), live)


def levels(
    steps: Sequence[ApplyStep], order: Callable[[ApplyStep], Order]
) -> tuple[tuple[ApplyStep, ...], ...]:
    """Steps of equal order go together, lower orders first."""
    return tuple(tuple(group) for _, group in groupby(sorted(steps, key=order), key=order))


def prune_levels(
    prunes: Sequence[PruneStep], going: Sequence[PruneStep]
) -> tuple[tuple[PruneStep, ...], ...]:
    """In reverse order; what stands lower waits until what is going above it has gone."""
    reached = max((step.order for step in going), default=None)
    now = [step for step in prunes if reached is None or step.order >= reached]
    ordered = sorted(now, key=lambda step: (step.order, step.key), reverse=True)
    return tuple(tuple(group) for _, group in groupby(ordered, key=lambda step: step.order))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an object that exists may be taken; with `reason` it may not."""

    reason: str = ""
    message: str = ""


def judge_existing(
    metadata: Mapping[str, Any],
    apply_set: str,
    adopt: Adopt,
    bundle_of: Callable[[str], str | None],
) -> Verdict:
    """What the adoption policy says of an object that is not in the record.

    `bundle_of` an apply set: the name of our bundle that claims the object, empty when it is ours and none
    does any more, None when it is none of ours.
    """
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    part_of = str(labels.get(PART_OF) or "")
    if part_of == apply_set:
        return Verdict()
    bundle = bundle_of(part_of) if part_of else None
    if bundle is not None:
        return Verdict(REASON_OWNED_BY_OTHER, f"belongs to bundle {bundle}") if bundle else Verdict()
    if adopt == "Always":
        return Verdict()
    if adopt == "Never":
        return Verdict(REASON_EXISTS, "exists already, and adopt is Never")
    for owner in _owners(metadata, labels, annotations, part_of):
        return Verdict(REASON_APPLY_CONFLICT, f"exists already and belongs to {owner}; adopt is IfUnowned")
    return Verdict()


def _owners(
    metadata: Mapping[str, Any], labels: Mapping[str, Any], annotations: Mapping[str, Any], part_of: str
) -> list[str]:
    """Who shows on an object that it is his, by the marks of the usual tools."""
    owners = []
    if part_of:
        owners.append(f"apply set {part_of}")
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            owners.append(f"{reference.get('kind')} {reference.get('name')}")
    if labels.get("app.kubernetes.io/managed-by") == "Helm" and annotations.get("meta.helm.sh/release-name"):
        owners.append(f"Helm release {annotations['meta.helm.sh/release-name']}")
    if tracked := annotations.get("argocd.argoproj.io/tracking-id"):
        owners.append(f"Argo CD application {str(tracked).partition(':')[0]}")
    elif application := labels.get("argocd.argoproj.io/instance"):
        owners.append(f"Argo CD application {application}")
    for tool in ("kustomize", "helm"):
        if name := labels.get(f"{tool}.toolkit.fluxcd.io/name"):
            owners.append(f"Flux {'Kustomization' if tool == 'kustomize' else 'HelmRelease'} {name}")
    return owners
