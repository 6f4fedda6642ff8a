"""Label selectors, with Kubernetes' meaning: a missing label satisfies NotIn and DoesNotExist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fleetbus.schemas.documents import LabelSelector, Requirement
from fleetbus.schemas.errors import DocumentInvalid

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")
_SET = re.compile(rf"^(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUALS = re.compile(rf"^(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>\S*)$")
_EXISTS = re.compile(rf"^(?P<absent>!\s*)?(?P<key>{_KEY})$")


def requirements(selector: LabelSelector) -> Iterator[Requirement]:
    """Every requirement of the selector, matchLabels first, by key."""
    for key, value in sorted(selector.match_labels.items()):
        yield Requirement(key=key, operator="In", values=(value,))
    yield from selector.match_expressions


def holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold; an empty selector matches everything."""
    return all(holds(requirement, labels) for requirement in requirements(selector))


def text(requirement: Requirement) -> str:
    """As an operator writes it: `env in (dev, prod)`, `env=dev`, `!env`."""
    match requirement.operator:
        case "In" if len(requirement.values) == 1:
            return f"{requirement.key}={requirement.values[0]}"
        case "NotIn" if len(requirement.values) == 1:
            return f"{requirement.key}!={requirement.values[0]}"
        case "In":
            return f"{requirement.key} in ({', '.join(requirement.values)})"
        case "NotIn":
            return f"{requirement.key} notin ({', '.join(requirement.values)})"
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"


def parse_selector(written: str) -> LabelSelector:
    """What follows `-l`: `env=prod,tier in (a,b),!legacy`. DocumentInvalid names the part that is wrong."""
    return LabelSelector(match_expressions=tuple(_requirement(part) for part in _parts(written)))


def _parts(written: str) -> Iterator[str]:
    """Split at the commas that are not in brackets."""
    part, depth = "", 0
    for character in written:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    if part.strip() or "," in written:
        yield part.strip()


def _requirement(part: str) -> Requirement:
    if found := _SET.fullmatch(part):
        values = tuple(_value(value.strip(), part) for value in found["values"].split(","))
        return Requirement(
            key=found["key"], operator="In" if found["operator"] == "in" else "NotIn", values=values
        )
    if found := _EXISTS.fullmatch(part):
        return Requirement(key=found["key"], operator="DoesNotExist" if found["absent"] else "Exists")
    if found := _EQUALS.fullmatch(part):
        operator = "NotIn" if found["operator"] == "!=" else "In"
        return Requirement(key=found["key"], operator=operator, values=(_value(found["value"], part),))
    raise _wrong(part)


def _value(value: str, part: str) -> str:
    if not _VALUE.fullmatch(value):
        raise _wrong(part)
    return value


def _wrong(part: str) -> DocumentInvalid:
    return DocumentInvalid(
        f"`{part[:80]}` is no label selector", remedy="write such as `env=prod,tier in (a,b),team!=x,!legacy`"
    )
