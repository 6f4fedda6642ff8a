"""Whatever happens to sources, labels and reports: nothing large is pruned that nobody has let go by its count."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetbus.controller.capabilities.bundles.holds import holds
from fleetbus.controller.capabilities.bundles.reconcile import capability
from fleetbus.controller.capabilities.bundles.render import Input, Rendered
from fleetbus.controller.capabilities.bundles.reports import report_of
from fleetbus.schemas.capabilities.bundles import prune_limit
from fleetbus.schemas.documents import placement_limit
from tests.unit.controller.fleet import Desk, cluster, stored
from tests.unit.controller.test_bundles import (
    KEY,
    Repository,
    fetch,
    relabel,
    release,
    report,
    retired,
    spec,
    told,
)

NAMES = [f"c{number}" for number in range(6)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.sampled_from([0, 0, 5, 9])),
        st.tuples(st.just("relabel"), st.sets(st.sampled_from(NAMES), min_size=1, max_size=5)),
        st.tuples(st.just("report"), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(st.just("answer"), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(st.just("release"), st.booleans()),
        st.tuples(st.just("lose status"), st.just(0)),
    ),
    max_size=16,
)


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_nothing_large_goes_unasked(steps: list[tuple[str, object]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, object]]) -> None:
    repository = Repository()

    async def render(wanted: Input, folder: Path) -> Rendered:
        return await repository.render(wanted, folder)

    desk = Desk(capability(render), Path("/nonexistent"))
    desk.join(*(cluster(name, {"env": "prod"}) for name in NAMES))
    desk.put(stored("Source", "platform", {"git": {"url": "file:///srv/platform"}}))
    desk.put(stored("Bundle", "web", spec()))
    fetch(desk, repository, "0", 9)
    await desk.reconcile(KEY)
    report(desk, *NAMES)
    for number, (word, value) in enumerate(steps, start=1):
        let_go = _step(desk, repository, number, word, value)
        placed = _listed(desk, "placed")
        full = {name for name in NAMES if (told(desk, name) or {}).get("objects")}
        going = {name for name in NAMES if retired(desk, name)}
        await desk.reconcile(KEY)
        gone = {name for name in NAMES if retired(desk, name)} - going
        if placed is not None:
            assert gone <= placed
        if placed is not None and not let_go:
            assert len({name for name in gone if _has(desk, name)}) <= placement_limit(len(placed))
            emptied = {name for name in full if (told(desk, name) or {"objects": 1})["objects"] == 0}
            assert not emptied


def _listed(desk: Desk, field: str) -> set[str] | None:
    """A list of clusters in the bundle's status; None when there is no status."""
    status = desk.statuses.get(KEY)
    return set(status.details[field]) if status else None


def _apply(desk: Desk, name: str) -> None:
    """What the agent does with what it is told, its own brake included."""
    entry, has = told(desk, name), _has(desk, name)
    if entry is None:
        return
    surplus = max(0, has - entry["objects"])
    held = surplus if surplus > max(prune_limit(has), entry["released"]) else 0
    report(desk, name, held_prunes=held)


def _has(desk: Desk, name: str) -> int:
    """How many objects the cluster says it has."""
    last = report_of(desk.clusters[name], "uid-bundle-web")
    return 0 if last is None or last.removed else last.objects + last.held_prunes


def _step(desk: Desk, repository: Repository, number: int, word: str, value: object) -> bool:
    """Play one step; whether somebody has let something go."""
    names = sorted(value) if isinstance(value, set) else []
    match word:
        case "fetch":
            fetch(desk, repository, chr(ord("A") + number), int(str(value)))
        case "relabel":
            for name in names:
                env = desk.clusters[name].document.labels["env"]
                relabel(desk, "lab" if env == "prod" else "prod", name)
        case "report":
            for name in names:
                _apply(desk, name)
        case "answer":
            report(desk, *(name for name in names if retired(desk, name)), removed=True)
        case "release" if held := holds(desk.statuses.get(KEY)):
            release(desk, held[0].count)
            return True
        case "lose status":
            desk.statuses.pop(KEY, None)
    return False
