"""Placement and its brake: everybody is in or has a reason, and a large loss never goes through unasked."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller.decisions.held import keep
from fleetbus.controller.decisions.placement import place
from fleetbus.controller.decisions.selectors import matches, parse_selector, selector_text
from fleetbus.schemas.capabilities.bundles import placement_limit
from fleetbus.schemas.documents import LabelSelector, Placement, Requirement
from tests.unit.controller.fleet import FACTS, cluster

NAMES = st.sampled_from([f"{region}-{number}" for region in ("dev", "edge", "prod") for number in range(6)])
LABELS = st.dictionaries(st.sampled_from(["env", "tier"]), st.sampled_from(["a", "b", "c"]))
CLUSTERS = st.dictionaries(NAMES, st.tuples(LABELS, st.booleans()), max_size=12)
VALUES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2).map(tuple)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    values = draw(VALUES) if operator in ("In", "NotIn") else ()
    key = draw(st.sampled_from(["env", "tier", "zone"]))
    return Requirement.model_validate({"key": key, "operator": operator, "values": values})


SELECTORS = st.builds(
    LabelSelector,
    match_labels=LABELS,
    match_expressions=st.lists(requirements(), max_size=2).map(tuple),
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


@given(SELECTORS, LABELS)
def test_a_selector_reads_back_as_it_is_written(selector: LabelSelector, labels: dict[str, str]) -> None:
    assert matches(parse_selector(selector_text(selector)), labels) is matches(selector, labels)


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
