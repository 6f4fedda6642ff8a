"""Which clusters a document is placed on, with a reason for every cluster that is out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleetbus.controller.decisions import facts, selectors
from fleetbus.schemas.capabilities.bundles import Exclusion
from fleetbus.schemas.documents import Placement, Stored
from fleetbus.schemas.states import Facts
from fleetbus.schemas.subjects import ClusterId


class Member(Protocol):
    """What placement looks at in a cluster; `ports.ClusterView` is one."""

    @property
    def id(self) -> ClusterId: ...

    @property
    def document(self) -> Stored: ...

    @property
    def facts(self) -> Facts | None: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, asked of one cluster. `message` says what stands there."""

    clause: str
    rule: str
    holds: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule of the funnel, and the clusters whose first unmet rule it is."""

    clause: str
    rule: str
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """`clusters` sorted; `exclusions` one a cluster that is out, sorted; `funnel` the same by rule."""

    total: int
    clusters: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]
    funnel: tuple[Step, ...]


def place(placement: Placement, members: Iterable[Member]) -> Placed:
    """Every member is in `clusters` or has one exclusion: its first rule that does not hold."""
    chosen: list[str] = []
    out: list[Exclusion] = []
    steps: dict[tuple[str, str], list[Exclusion]] = {}
    total = 0
    for member in sorted(members, key=lambda member: member.id.name):
        total += 1
        unmet = next((check for check in checks(placement, member) if not check.holds), None)
        if unmet is None:
            chosen.append(member.id.name)
            continue
        exclusion = Exclusion(
            cluster=member.id.name, clause=f"{unmet.clause} {unmet.rule}".strip(), message=unmet.message
        )
        out.append(exclusion)
        steps.setdefault((unmet.clause, unmet.rule), []).append(exclusion)
    order = {rule: position for position, rule in enumerate(_rules(placement))}
    funnel = [Step(clause, rule, tuple(found)) for (clause, rule), found in steps.items()]
    funnel.sort(key=lambda step: order.get((step.clause, step.rule), len(order)))
    return Placed(total, tuple(chosen), tuple(out), tuple(funnel))


def checks(placement: Placement, member: Member) -> Iterator[Check]:
    """Every rule of the placement that counts for this cluster, in order: all must hold.

    A cluster that is named skips selector and facts; nothing skips exclude.
    """
    name = member.id.name
    if member.document.deleting is not None:
        yield Check("leaving", "", False, "is leaving the fleet")
    yield from _chosen(placement, member)
    for pattern in placement.exclude:
        hit = _glob(pattern, name)
        yield Check("exclude", f"name in {pattern}", not hit, f"is named {name}" if hit else "")


def _chosen(placement: Placement, member: Member) -> Iterator[Check]:
    name = member.id.name
    if name in placement.clusters:
        yield Check("clusters", _named(placement), True, "is named")
        return
    if placement.selector is None and not placement.facts:
        if placement.clusters:
            yield Check("clusters", _named(placement), False, "is not named")
        else:
            yield Check("placement", "", False, "the placement names neither selector, facts nor clusters")
        return
    if placement.selector is not None:
        labels = member.document.labels
        for requirement in selectors.requirements(placement.selector):
            value = labels.get(requirement.key)
            found = f"has no label {requirement.key}" if value is None else f"has {requirement.key}={value}"
            yield Check("selector", selectors.text(requirement), selectors.holds(requirement, labels), found)
    for fact in placement.facts:
        found = facts.found_text(fact, member.facts)
        yield Check("facts", facts.text(fact), facts.holds(fact, member.facts), found)


def _rules(placement: Placement) -> Sequence[tuple[str, str]]:
    rules: list[tuple[str, str]] = [("leaving", ""), ("placement", ""), ("clusters", _named(placement))]
    if placement.selector is not None:
        rules += [("selector", selectors.text(one)) for one in selectors.requirements(placement.selector)]
    rules += [("facts", facts.text(one)) for one in placement.facts]
    return rules + [("exclude", f"name in {pattern}") for pattern in placement.exclude]


def _named(placement: Placement) -> str:
    names = placement.clusters
    return f"name in ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"


def _glob(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None
