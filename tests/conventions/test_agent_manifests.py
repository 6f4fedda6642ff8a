"""What is committed for the agent's installation is what the catalogue asks for, and no more than it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.agent.manifests import PROFILES, Profile, cluster_rules, files

FOLDER = Path(__file__).parents[2] / "deploy" / "kustomize" / "agent"


def test_the_committed_manifests_are_fresh() -> None:
    """If not: `python -m fleetbus.agent.manifests`."""
    committed = {
        str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()
    }
    assert committed == files()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_rule_has_a_wildcard_or_touches_admission(profile: Profile) -> None:
    for rule in cluster_rules(profile):
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any("*" in word for word in words)
        assert "admissionregistration.k8s.io" not in rule["apiGroups"]
        assert "impersonate" not in rule["verbs"]


def test_the_profile_observe_writes_nothing() -> None:
    assert {verb for rule in cluster_rules("observe") for verb in rule["verbs"]} <= {"get", "list", "watch"}


def test_only_the_profile_full_grants_rights() -> None:
    groups = {group for rule in cluster_rules("standard") for group in rule["apiGroups"]}
    assert "rbac.authorization.k8s.io" not in groups
