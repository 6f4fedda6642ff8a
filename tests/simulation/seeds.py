"""Many seeds beside each other: each in a process whose hashes are pinned, so that any of them replays exactly."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

import structlog

from tests.simulation.scenario import Run

HASH_SEED = "0"
WORKERS = 2

Live = Callable[[int], Run]
"""Lives through a seed; what broke is raised. A function of a module, as processes have to find it."""


def live_through(live: Live, seeds: Iterable[int]) -> Generator[Run]:
    """Each seed's run, as they end. Who has seen enough ends the others by closing."""
    with _pinned_hashes(), multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        yield from pool.imap_unordered(partial(_tried, live), seeds)


def _tried(live: Live, seed: int) -> Run:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        return live(seed)
    except AssertionError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        return Run(seed, problem=f"{error}\n{notes}")
    except BaseException as error:
        return Run(seed, problem="".join(traceback.format_exception(error)))


class _pinned_hashes:
    """Processes that are started in here have the same order of sets each time."""

    def __enter__(self) -> None:
        self._before = os.environ.get("PYTHONHASHSEED")
        os.environ["PYTHONHASHSEED"] = HASH_SEED

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = self._before


def summary(runs: Sequence[Run]) -> str:
    hours = sum(run.virtual_s for run in runs) / 3600
    return (
        f"{len(runs)} seeds, {hours:.1f} virtual hours, {sum(run.lives for run in runs)} lives of processes, "
        f"{sum(run.steps for run in runs)} steps, {sum(run.events for run in runs)} events"
    )


def failures(runs: Sequence[Run]) -> str:
    """What broke, each with how to replay it; empty when nothing did."""
    return "\n\n".join(
        f"seed {run.seed}: {run.problem}\nreplay: pytest tests/simulation/test_fleet.py --seed {run.seed}"
        for run in runs
        if run.problem
    )
