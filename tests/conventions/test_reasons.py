"""Reasons and event types are words of the contract: nobody else makes one up, and each is documented."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import fleetbus.schemas
from fleetbus.schemas import errors

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for member in ("runtime", "agent", "controller") for path in sorted((ROOT / member).rglob("*.py"))
]
STATUSES = {"True", "False", "Unknown"}
SEVERITIES = {"Normal", "Warning"}


def _constants(prefix: str) -> dict[str, str]:
    """Of every module of the contract, not only of those that the generator reads."""
    found = {}
    for info in pkgutil.walk_packages(fleetbus.schemas.__path__, "fleetbus.schemas."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if name.startswith(prefix):
                found[f"{info.name}.{name}"] = value
    return found


def test_every_reason_stands_in_the_reference() -> None:
    table = (ROOT / "docs/reference/reasons.md").read_text()
    missing = {name for name, reason in _constants("REASON_").items() if f"| `{reason}` |" not in table}
    assert missing == set()
    ends = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Terminal | errors.Refused)
    ]
    assert [one for one in ends if one not in ("Terminal", "Refused") and f"| `{one}` |" not in table] == []


def test_every_event_type_stands_in_the_references() -> None:
    types = set(_constants("EVENT_").values())
    table = (ROOT / "docs/reference/reasons.md").read_text()
    channels = json.loads((ROOT / "docs/asyncapi.json").read_text())["channels"].values()
    assert {one for one in types if f"| `{one}` |" not in table} == set()
    assert types == {one["title"] for one in channels}


def test_no_reason_and_no_event_type_is_spelt_outside_the_contract() -> None:
    spelt = [
        f"{path.relative_to(ROOT)}:{one.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        for one in _spelt(node)
    ]
    assert spelt == []


def _spelt(node: ast.AST) -> Iterator[ast.expr]:
    """Literals where a reason or an event type is given: by name, beside an event type, or beside a status."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        names = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(one, ast.Name) and one.id.startswith(("REASON_", "EVENT_")) for one in names):
            yield from (one for one in [node.value] if one is not None and _is_text(one))
    elif isinstance(node, ast.Call):
        if _name(node.func) in {"Happened", "Condition", "Transition", "ObjectState"}:
            yield from (
                one.value for one in node.keywords if one.arg in {"type", "reason"} and _is_text(one.value)
            )
        yield from _beside(node.args)
    elif isinstance(node, ast.Tuple):
        yield from _beside(node.elts)


def _beside(given: list[ast.expr]) -> Iterator[ast.expr]:
    first = given[0] if given else None
    after_status = isinstance(first, ast.Constant) and first.value in STATUSES
    if after_status or any(_name(one).startswith("EVENT_") for one in given):
        yield from (one for one in given if _is_camel(one))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_camel(node: ast.expr) -> bool:
    """Written as reasons are: one word that starts with a capital."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and len(node.values) > 1 else node
    text = first.value if isinstance(first, ast.Constant) else ""
    return (
        isinstance(text, str)
        and re.fullmatch(r"([A-Z][a-z]+)+", text) is not None
        and text not in STATUSES | SEVERITIES
    )
