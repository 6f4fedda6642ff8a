"""A placement told as a funnel, and every rule asked of one cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fleetbus.controller.decisions.placement import Check, Member, Placed, Step, checks, place, staying_text
from fleetbus.schemas.api import ExplainCheck, Explained, ExplainStep
from fleetbus.schemas.documents import Placement, Stored
from fleetbus.schemas.errors import NotFound

_NAMES = 20


def explain_placement(
    document: Stored,
    placement: Placement,
    members: Iterable[Member],
    *,
    placed: Collection[str] = (),
    held: Collection[str] = (),
    cluster: str = "",
) -> Explained:
    """`placed`: where it is now. Raises NotFound when `cluster` is given and not in the fleet."""
    fleet = sorted(members, key=lambda member: member.id.name)
    found = place(placement, fleet, placed)
    result = Explained(
        kind=document.kind,
        name=document.name,
        generation=document.generation,
        total=found.total,
        steps=tuple(_step(step) for step in found.funnel),
        placed=found.clusters,
        held=tuple(sorted(held)),
        excluded=found.exclusions,
        message=_message(found, held),
    )
    if not cluster:
        return result
    member = next((member for member in fleet if member.id.name == cluster), None)
    if member is None:
        raise NotFound(f"there is no cluster `{cluster}`", remedy="see fleetbus get clusters")
    asked = tuple(checks(placement, member))
    is_held = cluster in held
    stays = next((one for one in found.staying if one.cluster == cluster), None)
    message = "it is placed only because the loss of it is held" if is_held else ""
    if stays is not None:
        message = f"it stays because it is placed already: it {stays.message}"
    return result.model_copy(
        update={
            "cluster": cluster,
            "checks": tuple(_check(check) for check in asked),
            "is_placed": is_held or cluster in found.clusters,
            "message": message,
            "remedy": _remedy(cluster, asked),
        }
    )


def _step(step: Step) -> ExplainStep:
    common = Counter(exclusion.message for exclusion in step.exclusions).most_common(3)
    return ExplainStep(
        clause=step.clause,
        rule=step.rule,
        count=len(step.exclusions),
        clusters=tuple(exclusion.cluster for exclusion in step.exclusions[:_NAMES]),
        message=", ".join(f"{count} {_plural(message, count)}" for message, count in common),
    )


def _plural(message: str, count: int) -> str:
    for one, several in (("has ", "have "), ("is ", "are ")):
        if count > 1 and message.startswith(one):
            return several + message.removeprefix(one)
    return message


def _check(check: Check) -> ExplainCheck:
    return ExplainCheck(clause=check.clause, rule=check.rule, holds=check.holds, message=check.message)


def _message(found: Placed, held: Collection[str]) -> str:
    text = f"{len(found.clusters)} of {found.total} clusters{staying_text(found)}"
    return f"{text}, and {len(held)} whose loss is held" if held else text


def _remedy(cluster: str, asked: Sequence[Check]) -> str:
    unmet = next((check for check in asked if not check.holds), None)
    match unmet:
        case Check(clause="selector", rule=rule):
            return f"give cluster/{cluster} labels for which `{rule}` holds, or name it in spec.placement.clusters"
        case Check(clause="exclude"):
            return "take it out of spec.placement.exclude"
        case Check(clause="facts" | "clusters"):
            return "name it in spec.placement.clusters"
        case Check(clause="placement"):
            return "give spec.placement a selector, facts or clusters"
        case _:
            return ""
