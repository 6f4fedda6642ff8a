"""What is committed for the agent's installation is what its parts ask for, and no more than they may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetbus.agent.guard.policy import CHECKS, guard
from fleetbus.agent.manifests import files, manifests
from fleetbus.agent.needs import PROFILES, READ, Profile, cluster_rules, home_rules, home_writes
from fleetbus.schemas.guard import PARAMETERS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kustomize"


def test_the_committed_manifests_are_fresh() -> None:
    """If not: `python -m fleetbus.agent.manifests`."""
    committed = {
        str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()
    }
    assert committed == files()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_rule_has_a_wildcard_or_touches_admission(profile: Profile) -> None:
    for rule in [*cluster_rules(profile), *home_rules(profile)]:
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any("*" in word for word in words)
        assert "admissionregistration.k8s.io" not in rule["apiGroups"]
        assert "impersonate" not in rule["verbs"]


def test_the_profile_observe_writes_nothing_but_the_records_of_the_agent() -> None:
    assert {verb for rule in cluster_rules("observe") for verb in rule["verbs"]} <= set(READ)
    writes = {
        resource
        for rule in home_rules("observe")
        for resource in rule["resources"]
        if not set(rule["verbs"]) <= set(READ)
    }
    assert writes == {"leases", "agentstates", "secrets"}
    secrets = [rule for rule in home_rules("observe") if "secrets" in rule["resources"]]
    assert [rule["resourceNames"] for rule in secrets] == [["fleetbus-agent"]]


def test_a_profile_takes_the_place_of_another() -> None:
    """All have objects of the same names, and observe binds nothing that others add."""
    named = [[(one["kind"], one["metadata"]["name"]) for one in manifests(profile)] for profile in PROFILES]
    assert named[0] == named[1] == named[2]
    added = next(
        one
        for one in manifests("observe")
        if one["metadata"]["name"] == "fleetbus-agent-additions" and one["kind"] == "ClusterRoleBinding"
    )
    assert added["subjects"] == []


def test_only_the_profile_full_grants_rights() -> None:
    groups = {group for rule in cluster_rules("standard") for group in rule["apiGroups"]}
    assert "rbac.authorization.k8s.io" not in groups


def test_the_guard_knows_what_the_agent_writes_in_its_own_namespace() -> None:
    assert home_writes() == (
        "/configmaps/fleetbus-bundle-*",
        "/configmaps/fleetbus-rehearsal-*",
        "/secrets/fleetbus-agent",
        "agent.fleetbus.dev/agentstates/agent",
        "batch/jobs/fleetbus-*",
        "coordination.k8s.io/leases/fleetbus-agent",
    )


def test_the_guard_says_of_every_parameter_what_it_is_for() -> None:
    variables = [one["name"] for one in guard()[0]["spec"]["variables"]]
    assert tuple(variables[: len(PARAMETERS)]) == PARAMETERS
    assert {check.parameter for check in CHECKS if check.parameter} <= set(PARAMETERS)
    page = (ROOT / "docs/security/guard.md").read_text().partition("| parameter |")[2]
    assert set(re.findall(r"^\| `([A-Za-z]+)` \|", page, re.MULTILINE)) == set(PARAMETERS)


def test_every_variable_of_the_guard_is_used() -> None:
    spec = guard()[0]["spec"]
    text = " ".join(
        [one["expression"] for one in spec["variables"]]
        + [f"{one['expression']} {one['messageExpression']}" for one in spec["validations"]]
    )
    names = [one["name"] for one in spec["variables"]]
    assert [name for name in names if not re.search(rf"\bvariables\.{name}\b", text)] == []
