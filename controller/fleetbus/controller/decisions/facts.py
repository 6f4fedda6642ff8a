"""What the agents report, asked by placement. A missing fact never matches, NotIn included, and ends no match."""

from __future__ import annotations

import re
from collections.abc import Callable

from fleetbus.schemas.documents import FactRequirement
from fleetbus.schemas.states import Facts

_VERSION = re.compile(r"^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:[-+.].*)?$")
_NUMBER = re.compile(r"^\d{1,12}$")


def holds(requirement: FactRequirement, facts: Facts | None) -> bool:
    found = known(requirement.fact, facts)
    if not found:
        return False
    if requirement.operator == "Exists":
        return True
    if requirement.operator in {"AtLeast", "Below"}:
        reported, limit = order(requirement.fact, found[0]), order(requirement.fact, requirement.values[0])
        if reported is None or limit is None:
            return False
        return reported >= limit if requirement.operator == "AtLeast" else reported < limit
    among = any(same(requirement.fact, value, one) for value in requirement.values for one in found)
    return among if requirement.operator == "In" else not among


def is_unknown(requirement: FactRequirement, facts: Facts | None) -> bool:
    """Whether nothing can be said: it was not reported, or what was reported cannot be compared."""
    found = known(requirement.fact, facts)
    if not found:
        return True
    if requirement.operator not in {"AtLeast", "Below"}:
        return False
    comparable = order(requirement.fact, requirement.values[0]) is not None
    return comparable and order(requirement.fact, found[0]) is None


def known(fact: str, facts: Facts | None) -> tuple[str, ...]:
    """The values of a fact; none when it is not known. Only apiGroups has several."""
    return () if facts is None else tuple(value for value in _READ[fact](facts) if value)


def order(fact: str, value: str) -> tuple[int, ...] | None:
    """What AtLeast and Below compare: numbers, and versions without a provider's suffix; None for the rest.

    `v1.33.4-eks-1a2b3c` is 1.33.4: as a prerelease (semver 2.0, 11) it would stand below it.
    """
    if fact == "kubernetesVersion":
        version = _VERSION.fullmatch(value)
        return tuple(int(part or 0) for part in version.groups()) if version else None
    if fact == "nodes":
        return (int(value),) if _NUMBER.fullmatch(value) else None
    return None


def same(fact: str, wanted: str, reported: str) -> bool:
    """Equal; for versions as far as `wanted` goes, so that `1.36` is every 1.36.x."""
    if wanted == reported:
        return True
    if fact != "kubernetesVersion":
        return False
    asked, has = _VERSION.fullmatch(wanted), _VERSION.fullmatch(reported)
    if asked is None or has is None or "-" in wanted or "+" in wanted:
        return False
    return all(
        part is None or int(part) == int(there or 0)
        for part, there in zip(asked.groups(), has.groups(), strict=True)
    )


def text(requirement: FactRequirement) -> str:
    """As a sentence says it: `kubernetesVersion AtLeast 1.33`, `provider in (aws, gce)`."""
    if requirement.operator in {"AtLeast", "Below"}:
        return f"{requirement.fact} {requirement.operator} {requirement.values[0]}"
    if requirement.operator == "Exists":
        return f"{requirement.fact} is known"
    word = "in" if requirement.operator == "In" else "notin"
    return f"{requirement.fact} {word} ({', '.join(requirement.values)})"


def found_text(requirement: FactRequirement, facts: Facts | None) -> str:
    """What stands there: `has nodes 3`, `has not reported region`."""
    found = known(requirement.fact, facts)
    if not found:
        return f"has not reported {requirement.fact}"
    if requirement.operator in {"AtLeast", "Below"}:
        if order(requirement.fact, found[0]) is None:
            return f"has {requirement.fact} {found[0]}, which has no order"
        if order(requirement.fact, requirement.values[0]) is None:
            return f"`{requirement.values[0]}` cannot be compared with {requirement.fact} {found[0]}"
    shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return f"has {requirement.fact} {shown}"


_READ: dict[str, Callable[[Facts], tuple[str, ...]]] = {
    "kubernetesVersion": lambda facts: (facts.kubernetes_version,),
    # An agent that may not list nodes reports none.
    "nodes": lambda facts: (str(facts.nodes),) if facts.nodes else (),
    "provider": lambda facts: (facts.provider,),
    "region": lambda facts: (facts.region,),
    "apiGroups": lambda facts: facts.api_groups,
}
