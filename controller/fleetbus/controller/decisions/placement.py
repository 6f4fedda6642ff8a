"""Which clusters a document is placed on, with a reason for every cluster that is out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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
    """One rule, asked of one cluster. `message` says what stands there.

    `unknown`: it does not hold only because the cluster has not reported what the rule asks for.
    """

    clause: str
    rule: str
    holds: bool
    message: str = ""
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One rule of the funnel, and the clusters whose first unmet rule it is."""

    clause: str
    rule: str
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """`clusters` sorted; `exclusions` one a cluster that is out, sorted; `funnel` the same by rule.

    `staying`: those of `clusters` that are in only because they were, with the rule whose answer is unknown.
    """

    total: int
    clusters: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]
    funnel: tuple[Step, ...]
    staying: tuple[Exclusion, ...] = ()


def place(placement: Placement, members: Iterable[Member], placed: Collection[str] = ()) -> Placed:
    """Every member is in `clusters` or has one exclusion: its first rule that does not hold.

    `placed`: where the document is now. What is not known lets nobody in and throws nobody out.
    """
    chosen: list[str] = []
    out: list[Exclusion] = []
    staying: list[Exclusion] = []
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
        if member.id.name in placed and _only_unknown(placement, member):
            chosen.append(member.id.name)
            staying.append(exclusion)
            continue
        out.append(exclusion)
        steps.setdefault((unmet.clause, unmet.rule), []).append(exclusion)
    order = {rule: position for position, rule in enumerate(_rules(placement))}
    funnel = [Step(clause, rule, tuple(found)) for (clause, rule), found in steps.items()]
    funnel.sort(key=lambda step: order.get((step.clause, step.rule), len(order)))
    return Placed(total, tuple(chosen), tuple(out), tuple(funnel), tuple(staying))


def staying_text(found: Placed) -> str:
    """What a condition adds on clusters that stay because something about them is not known; or nothing."""
    if not found.staying:
        return ""
    first = found.staying[0]
    more = f" (and {len(found.staying) - 1} more)" if found.staying[1:] else ""
    return f"; {first.cluster} stays where it is placed, as it {first.message}{more}"


def _only_unknown(placement: Placement, member: Member) -> bool:
    return all(check.holds or check.unknown for check in checks(placement, member))


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
        unknown = facts.is_unknown(fact, member.facts)
        yield Check("facts", facts.text(fact), facts.holds(fact, member.facts), found, unknown)


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
    """Part by part, each as early as it can: never slower for more stars, as a regular expression would be."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == first
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
