"""The guard as `cluster join` gives it: what is said wins, what the owner changed stays."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.cli.ceremony.guard import Allowed, guard_manifests
from fleetbus.schemas.errors import SettingsInvalid


def _parameters(objects: list[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: one["expression"] for one in objects[0]["spec"]["variables"]}


def test_without_a_word_all_namespaces_and_registries_are_allowed() -> None:
    found = _parameters(guard_manifests())
    assert (found["namespaces"], found["registries"], found["agentImages"]) == ("['*']", "['*']", "[]")


def test_what_is_given_is_written_into_it() -> None:
    allowed = Allowed(("shop", "team-*"), ("registry.example.com",), "registry.example.com/agent:1")
    found = _parameters(guard_manifests(allowed))
    assert found["namespaces"] == "['shop', 'team-*']"
    assert found["registries"] == "['registry.example.com']"
    assert found["agentImages"] == "['registry.example.com/agent']"


def test_what_stands_in_the_cluster_stays_unless_it_is_given_anew() -> None:
    standing = {"namespaces": "['shop']", "kinds": "['ConfigMap']", "subresources": "['pods/eviction']"}
    found = _parameters(guard_manifests(Allowed(registries=("h.example.com",)), standing))
    assert (found["namespaces"], found["kinds"]) == ("['shop']", "['ConfigMap']")
    assert found["registries"] == "['h.example.com']"
    assert "'pods/eviction'" in found["subresources"]
    assert _parameters(guard_manifests(Allowed(namespaces=("a",)), standing))["namespaces"] == "['a']"


@pytest.mark.parametrize(
    "given", [{"namespaces": ("a']",)}, {"registries": ("https://h",)}, {"agent_image": "a image"}]
)
def test_what_does_not_fit_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        Allowed(**given)
