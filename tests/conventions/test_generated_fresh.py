"""What is generated from the contract is committed as it would be generated now, and says what it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetbus.agent.manifests import files
from fleetbus.cli.generate import FILE, kind_words
from fleetbus.schemas import generate
from fleetbus.schemas.catalogue import KINDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_docs_are_fresh() -> None:
    assert generate.stale(DOCS) == []


def test_the_command_knows_the_words_of_every_kind() -> None:
    assert FILE.read_text() == kind_words()


@pytest.mark.parametrize("profile", ["observe", "standard", "full"])
def test_the_command_ships_the_manifests_of_the_agent(profile: str) -> None:
    shipped = ROOT / "cli/fleetbus/cli/ceremony/agent_manifests" / f"{profile}.yaml"
    assert shipped.read_text() == files()[f"agent/{profile}/agent.yaml"]


def test_the_command_ships_the_guard() -> None:
    shipped = ROOT / "cli/fleetbus/cli/ceremony/agent_manifests/guard.yaml"
    assert shipped.read_text() == files()["guard/guard.yaml"]


def _references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
        return own.union(*(_references(one) for one in schema.values()), set())
    if isinstance(schema, list):
        return set().union(*(_references(one) for one in schema), set())
    return set()


def _resolves(document: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


@pytest.mark.parametrize("name", [*(kind.lower() for kind in KINDS), "all", "event"])
def test_schemas_are_whole_and_of_draft_7(name: str) -> None:
    schema = json.loads((DOCS / "schemas/v1alpha1" / f"{name}.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"] == f"https://fleetbus.dev/schemas/v1alpha1/{name}.json"
    assert "$defs" not in json.dumps(schema)
    assert [one for one in _references(schema) if not _resolves(schema, one)] == []


def test_asyncapi_names_every_event_type() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    assert document["asyncapi"] == "3.0.0"
    assert {one["title"] for one in document["channels"].values()} == set(generate.event_types())
    assert {one["action"] for one in document["operations"].values()} == {"send"}
    assert [one for one in _references(document) if not _resolves(document, one)] == []


def test_a_reason_belongs_to_one_capability_unless_it_is_a_shared_word() -> None:
    shared = {reason for reason, users in generate.reasons().items() if len(users) > 1}
    assert shared <= {"VaultUnavailable"}
