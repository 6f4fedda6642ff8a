"""Folders and catalogue lines agree, on every side, with the same word everywhere."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import fleetbus.agent.capabilities
import fleetbus.controller.capabilities
import fleetbus.schemas.capabilities
from fleetbus.agent.catalogue import CAPABILITIES as AGENT
from fleetbus.controller.catalogue import CAPABILITIES as CONTROLLER
from fleetbus.schemas.catalogue import CAPABILITIES as SCHEMAS


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
