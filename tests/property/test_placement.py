"""Placement and its brake: everybody is in or has a reason, and a large loss never goes through unasked."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller.decisions.held import keep
from fleetbus.controller.decisions.placement import place
from fleetbus.controller.decisions.selectors import matches, parse_selector, requirements, text
from fleetbus.schemas.documents import FactRequirement, LabelSelector, Placement, Requirement, placement_limit
from fleetbus.schemas.states import Facts
from tests.unit.controller.fleet import FACTS, cluster

NAMES = st.sampled_from([f"{region}-{number}" for region in ("dev", "edge", "prod") for number in range(6)])
LABELS = st.dictionaries(st.sampled_from(["env", "tier"]), st.sampled_from(["a", "b", "c"]))
CLUSTERS = st.dictionaries(NAMES, st.tuples(LABELS, st.booleans()), max_size=12)
VALUES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2).map(tuple)


@st.composite
def drawn_requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    values = draw(VALUES) if operator in ("In", "NotIn") else ()
    key = draw(st.sampled_from(["env", "tier", "zone"]))
    return Requirement.model_validate({"key": key, "operator": operator, "values": values})


SELECTORS = st.builds(
    LabelSelector,
    match_labels=LABELS,
    match_expressions=st.lists(drawn_requirements(), max_size=2).map(tuple),
)
PLACEMENTS = st.builds(
    Placement,
    selector=st.none() | SELECTORS,
    clusters=st.lists(NAMES, max_size=3).map(tuple),
    exclude=st.lists(st.sampled_from(["edge-*", "*-1", "prod-2"]), max_size=2).map(tuple),
)


@given(CLUSTERS, PLACEMENTS)
def test_everybody_is_in_or_has_one_reason(drawn: dict[str, Any], placement: Placement) -> None:
    fleet = [
        cluster(name, labels, facts=FACTS if has_facts else None)
        for name, (labels, has_facts) in drawn.items()
    ]
    found = place(placement, fleet)
    out = [one.cluster for one in found.exclusions]
    assert sorted([*found.clusters, *out]) == sorted(drawn)
    assert all(one.clause and one.message for one in found.exclusions)
    assert sum(len(step.exclusions) for step in found.funnel) == len(out)
    assert found.total == len(drawn)
    assert place(placement, reversed(fleet)) == found


@given(st.text("ab*", max_size=6), st.text("ab", max_size=6).map(lambda rest: f"a{rest}"))
def test_a_pattern_matches_as_a_shells_does(pattern: str, name: str) -> None:
    found = place(Placement(selector=LabelSelector(), exclude=(pattern,)), [cluster(name)])
    assert (found.clusters == ()) is fnmatchcase(name, pattern)


@given(SELECTORS, LABELS)
def test_a_selector_reads_back_as_it_is_written(selector: LabelSelector, labels: dict[str, str]) -> None:
    written = ",".join(text(one) for one in requirements(selector))
    assert matches(parse_selector(written), labels) is matches(selector, labels)


FACT_REQUIREMENTS = st.lists(
    st.sampled_from(
        [
            FactRequirement(fact="nodes", operator="AtLeast", values=("3",)),
            FactRequirement(fact="kubernetesVersion", operator="Below", values=("1.36",)),
            FactRequirement(fact="region", operator="In", values=("eu", "us")),
            FactRequirement(fact="provider", operator="NotIn", values=("gce",)),
            FactRequirement(fact="apiGroups", operator="Exists"),
        ]
    ),
    max_size=3,
).map(tuple)
REPORTED = st.none() | st.builds(
    Facts,
    kubernetes_version=st.sampled_from(["", "v1.35.2", "v1.37.0", "unreadable"]),
    nodes=st.sampled_from([0, 2, 5]),
    region=st.sampled_from(["", "eu", "ap"]),
    provider=st.sampled_from(["", "aws", "gce"]),
    api_groups=st.sampled_from([(), ("apps",)]),
)


MISSING: dict[str, Any] = {
    "kubernetes_version": "",
    "nodes": 0,
    "region": "",
    "provider": "",
    "api_groups": (),
}
LOST = st.sets(st.sampled_from(["everything", *MISSING]))


def forgetful(facts: Facts | None, lost: set[str]) -> Facts | None:
    """The same report with some facts missing, or none at all."""
    if facts is None or "everything" in lost:
        return None
    return facts.model_copy(update={name: MISSING[name] for name in lost})


@given(
    st.dictionaries(NAMES, st.tuples(LABELS, REPORTED), max_size=8),
    PLACEMENTS,
    FACT_REQUIREMENTS,
    LOST,
)
def test_a_fact_that_goes_missing_ends_no_placement_and_begins_none(
    drawn: dict[str, Any], placement: Placement, asked: tuple[FactRequirement, ...], lost: set[str]
) -> None:
    placement = placement.model_copy(update={"facts": asked})
    fleet = [cluster(name, labels, facts=facts) for name, (labels, facts) in drawn.items()]
    before = set(place(placement, fleet).clusters)
    blind = [cluster(name, labels, facts=forgetful(facts, lost)) for name, (labels, facts) in drawn.items()]
    after = place(placement, blind, before)
    assert set(after.clusters) == before
    assert {one.cluster for one in after.staying} <= before
    assert set(place(placement, fleet, before).clusters) == before
    assert not place(placement, fleet, before).staying


@given(st.dictionaries(NAMES, st.tuples(LABELS, REPORTED), max_size=8), PLACEMENTS, FACT_REQUIREMENTS)
def test_what_is_known_and_does_not_hold_ends_a_placement(
    drawn: dict[str, Any], placement: Placement, asked: tuple[FactRequirement, ...]
) -> None:
    placement = placement.model_copy(update={"facts": asked})
    fleet = [cluster(name, labels, facts=facts) for name, (labels, facts) in drawn.items()]
    found = place(placement, fleet, list(drawn))
    assert set(found.clusters) - {one.cluster for one in found.staying} == set(
        place(placement, fleet).clusters
    )
    for one in found.staying:
        assert one.clause.startswith("facts ")


@given(
    st.sets(NAMES),
    st.sets(NAMES),
    st.integers(0, 3),
    st.dictionaries(NAMES, st.integers(0, 9)),
    st.none() | st.integers(0, 60),
)
def test_a_loss_beyond_the_limit_is_held_until_its_count_is_typed(
    previous: set[str], wanted: set[str], going: int, objects: dict[str, int], released: int | None
) -> None:
    limit = placement_limit(len(previous))
    kept = keep(previous, wanted, limit=limit, going=going, objects=objects, released=released)
    gone = previous - set(kept.placed)
    count = sum(objects.get(name, 0) for name in previous - wanted)
    assert wanted <= set(kept.placed) <= wanted | previous
    assert set(kept.lost) == gone
    assert set(kept.held) == set(kept.placed) - wanted
    if len(gone) + going > limit and gone:
        assert count in (0, released)
    if kept.held:
        assert kept.objects == count > 0
        again = keep(kept.placed, wanted, limit=limit, going=going, objects=objects, released=kept.objects)
        assert set(again.placed) == wanted
