"""The whole fleet through every fault: two controllers, three agents, their operators, on virtual time.

After every step what must always hold is looked at (invariants.py); when the faults have ended, everything
comes to where its operators want it (convergence.py), and EVENTS tells every transition once and in order.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation import faults, scenario
from tests.simulation import seeds as _seeds
from tests.simulation.scenario import Run

SEEDS = 12
"""So many in the suite, always the same; `--seeds` for more."""


def live(seed: int) -> Run:
    return scenario.run(seed)


def live_calmly(seed: int) -> Run:
    return scenario.run(seed, faults.CALM)


def test_the_fleet_ends_as_wanted_whatever_happened(
    seeds: int | None, only_seed: int | None, record_property: Callable[[str, object], None]
) -> None:
    if only_seed is not None:
        runs = list(_seeds.live_through(live, [only_seed]))
    else:
        runs = list(_seeds.live_through(live, range(SEEDS if seeds is None else seeds)))
    record_property("simulated", _seeds.summary(runs))
    print(_seeds.summary(runs))
    assert not (broken := _seeds.failures(runs)), f"{_seeds.summary(runs)}\n{broken}"


def test_a_seed_replays_exactly() -> None:
    first, again = _seeds.live_through(live, [3, 3])
    assert (first.problem, again) == ("", first)


def test_without_faults_it_settles_at_once() -> None:
    runs = list(_seeds.live_through(live_calmly, range(3)))
    assert not (broken := _seeds.failures(runs)), broken
    assert max(run.settled_s for run in runs) <= 120.0
