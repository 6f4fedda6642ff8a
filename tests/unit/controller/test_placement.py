"""Placement: labels, facts, names and globs, and a reason for whoever is out."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fleetbus.controller.decisions import facts
from fleetbus.controller.decisions.explain import explain_placement
from fleetbus.controller.decisions.placement import place
from fleetbus.schemas.documents import FactRequirement, Placement, Tombstone
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.states import Facts
from tests.unit.controller.fleet import FACTS, NOW, cluster, stored

FLEET = [
    cluster("dev-eu", {"env": "dev"}),
    cluster("edge-1", {"env": "dev"}, facts=None),
    cluster("lab", {"env": "lab"}),
    cluster("prod-us", {"env": "prod"}),
]


def placement(**spec: Any) -> Placement:
    return Placement.model_validate(spec)


def fact(name: str, operator: str, *values: str) -> FactRequirement:
    return FactRequirement.model_validate({"fact": name, "operator": operator, "values": values})


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        (fact("kubernetesVersion", "AtLeast", "1.36"), True),
        (fact("kubernetesVersion", "AtLeast", "v1.36.3"), True),
        (fact("kubernetesVersion", "AtLeast", "1.36.4"), False),
        (fact("kubernetesVersion", "Below", "1.37"), True),
        (fact("kubernetesVersion", "Below", "1.36"), False),
        (fact("kubernetesVersion", "AtLeast", "1.9"), True),
        (fact("kubernetesVersion", "AtLeast", "latest"), False),
        (fact("kubernetesVersion", "In", "1.36", "1.35"), True),
        (fact("kubernetesVersion", "In", "v1.36.3"), True),
        (fact("kubernetesVersion", "In", "v1.36.30"), False),
        (fact("kubernetesVersion", "NotIn", "1.35"), True),
        (fact("nodes", "AtLeast", "3"), True),
        (fact("nodes", "AtLeast", "10"), False),
        (fact("nodes", "Below", "10"), True),
        (fact("nodes", "AtLeast", "many"), False),
        (fact("provider", "In", "kwok"), True),
        (fact("provider", "Exists"), True),
        (fact("provider", "AtLeast", "a"), False),
        (fact("region", "NotIn", "us-east-1"), True),
        (fact("apiGroups", "In", "apps"), True),
        (fact("apiGroups", "NotIn", "cert-manager.io"), True),
        (fact("apiGroups", "NotIn", "apps"), False),
    ],
)
def test_facts_are_compared_as_what_they_are(requirement: FactRequirement, holds: bool) -> None:
    assert facts.holds(requirement, FACTS) is holds


@pytest.mark.parametrize("operator", ["In", "NotIn", "AtLeast", "Below"])
@pytest.mark.parametrize("name", ["kubernetesVersion", "provider", "region", "apiGroups", "nodes"])
def test_a_missing_fact_never_matches(name: str, operator: str) -> None:
    assert not facts.holds(fact(name, operator, "1"), None)
    assert not facts.holds(fact("region", operator, "1"), Facts(kubernetes_version="v1.36.3"))


@pytest.mark.parametrize("suffix", ["-eks-1a2b3c", "+k3s1", "-gke.100", "-alpha.1", ""])
def test_a_providers_suffix_does_not_lower_a_version(suffix: str) -> None:
    reported = FACTS.model_copy(update={"kubernetes_version": f"v1.36.3{suffix}"})
    assert facts.holds(fact("kubernetesVersion", "AtLeast", "1.36.3"), reported)
    assert facts.holds(fact("kubernetesVersion", "In", "1.36.3"), reported)


def test_every_cluster_that_is_out_has_the_clause_and_what_stands_there() -> None:
    wanted = placement(
        selector={"matchExpressions": [{"key": "env", "operator": "In", "values": ["dev", "prod"]}]},
        facts=[{"fact": "nodes", "operator": "AtLeast", "values": ["1"]}],
        exclude=["prod-*"],
    )
    found = place(wanted, FLEET)
    assert found.clusters == ("dev-eu",)
    assert [(one.cluster, one.clause, one.message) for one in found.exclusions] == [
        ("edge-1", "facts nodes AtLeast 1", "has not reported nodes"),
        ("lab", "selector env in (dev, prod)", "has env=lab"),
        ("prod-us", "exclude name in prod-*", "is named prod-us"),
    ]
    assert [(step.clause, len(step.exclusions)) for step in found.funnel] == [
        ("selector", 1),
        ("facts", 1),
        ("exclude", 1),
    ]


def test_a_named_cluster_skips_selector_and_facts_but_not_exclude() -> None:
    wanted = placement(
        selector={"matchLabels": {"env": "dev"}}, clusters=["lab", "prod-us"], exclude=["prod-us"]
    )
    assert place(wanted, FLEET).clusters == ("dev-eu", "edge-1", "lab")


def test_an_empty_placement_places_nothing_and_an_empty_selector_everything() -> None:
    assert place(placement(), FLEET).clusters == ()
    assert place(placement(), FLEET).exclusions[0].message.startswith("the placement names neither")
    assert len(place(placement(selector={}), FLEET).clusters) == 4
    only_named = place(placement(clusters=["lab"]), FLEET)
    assert only_named.clusters == ("lab",)
    assert only_named.exclusions[0].clause == "clusters name in (lab)"


def test_a_cluster_that_leaves_the_fleet_is_placed_nowhere() -> None:
    leaving = cluster("old", {"env": "dev"})
    tombstone = Tombstone(at=NOW, policy="Keep")
    leaving = cluster("old", document=leaving.document.model_copy(update={"deleting": tombstone}))
    found = place(placement(selector={}, clusters=["old"]), [*FLEET, leaving])
    assert "old" not in found.clusters


@pytest.mark.parametrize(
    ("pattern", "out"), [("edge-*", True), ("*", True), ("edge", False), ("edge-?", False), ("e*-1", True)]
)
def test_only_the_star_stands_for_characters(pattern: str, out: bool) -> None:
    found = place(placement(selector={}, exclude=[pattern]), FLEET)
    assert ("edge-1" not in found.clusters) is out


def test_a_pattern_of_many_stars_costs_nothing() -> None:
    name = "a" * 62 + "b"
    began = time.monotonic()
    found = place(placement(selector={}, exclude=["*a" * 2000 + "*c"]), [cluster(name)])
    assert found.clusters == (name,)
    assert time.monotonic() - began < 1


def test_explain_tells_the_funnel_and_one_clusters_rules() -> None:
    bundle = stored("Bundle", "ingress", {})
    wanted = placement(selector={"matchLabels": {"env": "dev"}}, exclude=["edge-*"])
    told = explain_placement(bundle, wanted, FLEET)
    assert told.total == 4
    assert told.placed == ("dev-eu",)
    assert [(step.clause, step.rule, step.count, step.message) for step in told.steps] == [
        ("selector", "env=dev", 2, "1 has env=lab, 1 has env=prod"),
        ("exclude", "name in edge-*", 1, "1 is named edge-1"),
    ]
    one = explain_placement(bundle, wanted, FLEET, cluster="prod-us")
    assert not one.is_placed
    assert [(check.clause, check.holds) for check in one.checks] == [("selector", False), ("exclude", True)]
    assert "labels for which `env=dev` holds" in one.remedy
    held = explain_placement(bundle, wanted, FLEET, cluster="prod-us", held=["prod-us"])
    assert held.is_placed
    with pytest.raises(NotFound, match="there is no cluster `mars`"):
        explain_placement(bundle, wanted, FLEET, cluster="mars")
