"""What is remembered of a value goes with it: old versions of a state are not kept alive."""

from __future__ import annotations

import gc
from weakref import ref

from fleetbus.controller.capabilities.bundles.reports import report_of
from fleetbus.controller.decisions.memo import Memo
from fleetbus.schemas.capabilities.bundles import BundleState, aspect_of
from tests.unit.controller.fleet import cluster, with_bundle


class Version:
    """A value that can be held weakly."""


def test_the_same_values_are_judged_once() -> None:
    memo: Memo[int] = Memo(8)
    one, other = Version(), Version()
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [memo.of(make, one), memo.of(make, one), memo.of(make, other)] == [0, 0, 1]
    assert memo.of(make, one, word="else") == 2
    assert memo.of(make, one, other) == 3


def test_a_result_goes_with_any_of_its_values() -> None:
    memo: Memo[str] = Memo(8)
    kept, replaced = Version(), Version()
    memo.of(lambda: "of both", kept, replaced)
    memo.of(lambda: "of one", kept)
    del replaced
    assert len(memo) == 1
    assert memo.of(lambda: "again", kept) == "of one"


def test_there_are_never_more_than_the_capacity() -> None:
    memo: Memo[int] = Memo(4)
    values = [Version() for _ in range(9)]
    for number, value in enumerate(values):
        memo.of(lambda number=number: number, value)  # type: ignore[misc]
    assert len(memo) == 4


def test_of_a_hundred_versions_of_a_state_only_the_newest_lives() -> None:
    view = cluster("c1")
    versions = []
    for objects in range(100):
        view = with_bundle(view, BundleState(id="b1", name="ingress", objects=objects))
        versions.append(ref(view.states[aspect_of("b1")]))
        report = report_of(view, "b1")
        assert report is not None
        assert report.objects == objects
    gc.collect()
    assert [version() is not None for version in versions] == [False] * 99 + [True]
