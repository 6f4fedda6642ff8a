"""Plans of bundles: only recorded objects are ever pruned, a plan after its steps is empty, order is kept."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetbus.agent.capabilities.bundles.live import Live
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, ObjectKey, order_of
from fleetbus.agent.capabilities.bundles.ownership import Recorded
from fleetbus.agent.capabilities.bundles.plan import Plan, Seen, Wanted, plan
from fleetbus.schemas.capabilities.bundles import prune_limit

SET = "applyset-mine"
KINDS = [("", "Namespace"), ("", "ConfigMap"), ("apps", "Deployment"), ("example.com", "Widget")]
KEYS = [ObjectKey(*kind, "", f"o{n}") for kind in KINDS for n in range(5)]

RECORDED = st.builds(Recorded, st.sampled_from("ab"), st.sampled_from(["", "h1", "h2"]), st.just("v1"))
LIVE = st.builds(
    Live,
    uid=st.just("u"),
    version=st.integers(1, 9),
    hash=st.sampled_from(["", "h1", "h2"]),
    part_of=st.sampled_from([SET, "other", ""]),
    deleting=st.booleans(),
    keep=st.booleans(),
    order=st.integers(-2, 2),
    editor=st.sampled_from(["", "kubectl"]),
)


def desired(key: ObjectKey, digest: str, annotated: int) -> DesiredObject:
    order = order_of(key.group_kind, {"fleetbus.dev/order": str(annotated)})
    return DesiredObject(key, "v1", digest, order, b"")


OBJECTS = st.dictionaries(
    st.sampled_from(KEYS), st.tuples(st.sampled_from("ab"), st.integers(-2, 2)), max_size=12
).map(lambda found: {key: desired(key, *value) for key, value in found.items()})
WANTED = st.builds(
    Wanted,
    apply_set=st.just(SET),
    objects=OBJECTS,
    prune=st.booleans(),
    released=st.integers(0, 20),
    settled=st.integers(0, 30),
)


@st.composite
def worlds(draw: st.DrawFn) -> Seen:
    recorded = draw(st.dictionaries(st.sampled_from(KEYS), RECORDED, max_size=15))
    live = draw(st.dictionaries(st.sampled_from(KEYS), LIVE, max_size=15))
    return Seen(
        recorded=recorded,
        live=live.get,
        synced=draw(st.sets(st.sampled_from(KINDS))),
        gone=draw(st.sets(st.sampled_from(KINDS), max_size=1)),
        wanted_elsewhere=draw(st.sets(st.sampled_from(KEYS), max_size=3)),
    )


def pruned(made: Plan) -> list[ObjectKey]:
    return [step.key for level in made.prune for step in level]


@given(WANTED, worlds())
def test_only_what_is_recorded_and_still_ours_is_pruned(wanted: Wanted, seen: Seen) -> None:
    for key in pruned(plan(wanted, seen)):
        live = seen.live(key)
        assert key in seen.recorded
        assert key not in wanted.objects
        assert key not in seen.wanted_elsewhere
        assert live is not None
        assert live.part_of == SET
        assert live.hash
        assert not live.keep
        assert not live.deleting


@given(WANTED, worlds())
def test_no_more_is_pruned_than_the_brake_allows(wanted: Wanted, seen: Seen) -> None:
    made = plan(wanted, seen)
    limit = max(prune_limit(wanted.settled or len(seen.recorded)), wanted.released)
    assert len(pruned(made)) <= limit
    assert not (made.held and made.prune)
    if not wanted.prune:
        assert not made.prune


@given(WANTED, worlds())
def test_nothing_that_is_live_and_ours_is_forgotten(wanted: Wanted, seen: Seen) -> None:
    for key in plan(wanted, seen).forget:
        live = seen.live(key)
        assert live is None or live.part_of != SET or not live.hash
        if live is None:
            assert key.group_kind in seen.synced or key.group_kind in seen.gone


@given(WANTED, worlds())
def test_levels_rise_when_applied_and_fall_when_pruned(wanted: Wanted, seen: Seen) -> None:
    made = plan(wanted, seen)
    rising = [step.desired.order for level in made.apply for step in level]
    falling = [step.order for level in made.prune for step in level]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


@settings(max_examples=200)
@given(WANTED, worlds())
def test_a_plan_after_its_steps_is_empty(wanted: Wanted, seen: Seen) -> None:
    """Carry out plan after plan in a world that obeys; three are enough for everything but what is held."""
    recorded = dict(seen.recorded)
    live = {key: one for key in KEYS if (one := seen.live(key)) is not None}
    for _ in range(20):
        now = Seen(recorded, live.get, synced=set(KINDS), wanted_elsewhere=seen.wanted_elsewhere)
        made = plan(wanted, now)
        for applying in made.apply:
            for step in applying:
                key, digest = step.desired.key, step.desired.digest
                live[key] = Live("u", 1, f"h-{digest}", SET)
                recorded[key] = Recorded(digest, f"h-{digest}", "v1")
        for key in pruned(made):
            del live[key]
        for going in made.going:
            live.pop(going.key, None)
        for key in made.forget:
            del recorded[key]
    final = plan(wanted, Seen(recorded, live.get, synced=set(KINDS), wanted_elsewhere=seen.wanted_elsewhere))
    assert final.empty
    assert not final.going
    assert wanted.objects.keys() <= recorded.keys()


@given(WANTED, worlds())
def test_an_apply_that_is_not_forced_is_of_what_is_not_known_to_be_ours(wanted: Wanted, seen: Seen) -> None:
    for level in plan(wanted, seen).apply:
        for step in level:
            recorded, live = seen.recorded.get(step.desired.key), seen.live(step.desired.key)
            if step.force:
                ours = recorded is not None and recorded.confirmed
                assert ours or (live is not None and live.part_of == SET and live.hash)
