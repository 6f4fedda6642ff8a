"""Folders and catalogue lines agree, on every side, with the same word everywhere: what a new capability touches."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import fleetbus.agent.capabilities
import fleetbus.cli.kinds
import fleetbus.controller.capabilities
import fleetbus.schemas.capabilities
from fleetbus.agent.capabilities.commands.drivers.catalogue import DRIVERS as OBEYED
from fleetbus.agent.catalogue import CAPABILITIES as AGENT
from fleetbus.cli.kinds import shown
from fleetbus.controller.catalogue import CAPABILITIES as CONTROLLER
from fleetbus.schemas.capabilities.commands import DRIVERS
from fleetbus.schemas.catalogue import CAPABILITIES as SCHEMAS
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.states import RESULT_ASPECT
from fleetbus.schemas.streams import ASPECTS


def _found(package: ModuleType) -> set[str]:
    folder = Path(package.__path__[0])
    return {path.stem for path in folder.iterdir() if not path.name.startswith(("_", "."))}


def test_every_capability_of_the_contract_has_its_line() -> None:
    words = {module.CAPABILITY for module in SCHEMAS}
    assert _found(fleetbus.schemas.capabilities) == words
    assert words == {module.__name__.rsplit(".", 1)[1] for module in SCHEMAS}


def test_every_folder_of_the_agent_has_its_line() -> None:
    assert _found(fleetbus.agent.capabilities) == {capability.name for capability in AGENT}


def test_every_folder_of_the_controller_has_its_line() -> None:
    assert _found(fleetbus.controller.capabilities) == {capability.name for capability in CONTROLLER}


def test_the_sides_use_the_words_of_the_contract() -> None:
    words = {module.CAPABILITY for module in SCHEMAS}
    assert {capability.name for capability in AGENT} <= words
    assert {capability.name for capability in CONTROLLER} <= words


def test_every_kind_has_its_module_in_the_command() -> None:
    assert _found(fleetbus.cli.kinds) == {kind.lower() for kind in KINDS}
    assert all(shown(kind).columns for kind in KINDS)


def test_an_aspect_belongs_to_one_capability_and_its_agent_writes_it() -> None:
    assert len(set(ASPECTS)) == len(ASPECTS)
    said = {module.CAPABILITY: set(module.ASPECTS) for module in SCHEMAS}
    for capability in AGENT:
        assert set(capability.aspects) - {RESULT_ASPECT} == said[capability.name]


def test_both_sides_know_the_same_drivers() -> None:
    assert {make.__module__.rsplit(".", 1)[1] for make in OBEYED} == set(DRIVERS)


MEETS = {("bundles", "sources")}
"""A capability may speak of clusters, and these of another's documents: a bundle names its source."""


def test_a_capability_does_not_know_the_others() -> None:
    """So a new one is an addition: no other's folder says its word, its kind, or imports its contract."""
    words = {module.CAPABILITY: {module.CAPABILITY} for module in SCHEMAS}
    for kind, model in KINDS.items():
        words[model.__module__.rsplit(".", 1)[1]] |= {kind, kind.lower(), model.plural}
    words["secrets"] -= {"secrets"}  # Also a resource of Kubernetes, in the rules of whoever applies some.
    known = [
        f"{path}: {word}"
        for package in (fleetbus.agent.capabilities, fleetbus.controller.capabilities)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
        for owner in [path.relative_to(package.__path__[0]).parts[0]]
        for word, other in _spoken(path, words)
        if other not in (owner, "clusters") and (owner, other) not in MEETS
    ]
    assert known == []


def _spoken(path: Path, words: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Words of a capability that stand in a module, as whole texts or in its imports, and whose they are."""
    owners = {word: capability for capability, its in words.items() for word in its}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in owners:
            yield node.value, owners[node.value]
        elif isinstance(node, ast.ImportFrom) and node.module:
            start, _, last = node.module.rpartition(".")
            if start == "fleetbus.schemas.capabilities":
                yield node.module, last
            elif node.module == "fleetbus.schemas.capabilities":
                yield from ((f"{node.module}.{one.name}", one.name) for one in node.names)
