"""That the simulation would notice: each safeguard taken away, one at a time, and some seed fails for it.

Fences are taken away at the simulated port. The rest replaces one name of the agent's for the length of a run:
a constant, a comparison, or the class that reports.
"""

from __future__ import annotations

import re
from contextlib import closing
from unittest.mock import patch

import pytest

from fleetbus.agent.report import Reporter
from tests.simulation import scenario, seeds
from tests.simulation.bus import BusFaults
from tests.simulation.faults import Plan
from tests.simulation.mortal import Dangers
from tests.simulation.scenario import Run
from tests.simulation.seeds import Live

MOST_SEEDS = 24
_CHAPTERS = 20


def without_periodic_read(seed: int) -> Run:
    """Nudges get lost, and nothing else makes an agent look."""
    plan = Plan(bus=BusFaults(nudges_lost=0.5))
    with patch("fleetbus.agent.desired.LOOK_EVERY_S", 1e9):
        return scenario.run(seed, plan, chapters=_CHAPTERS)


def without_order_check(seed: int) -> Run:
    """A lagging replica shows an older head, and it is taken."""
    plan = Plan(bus=BusFaults(lagging=0.6, lag_s=120.0, nudges_lost=0.9))
    with patch("fleetbus.agent.acceptance.newer", lambda told, accepted: True):
        return scenario.run(seed, plan, chapters=_CHAPTERS)


class HastyReporter(Reporter):
    """Publishes what it has not kept yet."""

    async def _flush_all(self) -> None:
        if not self.session:
            await self._open_session()
        for aspect in sorted(self._unkept):
            await self._send(aspect)
        await super()._flush_all()


def publishing_before_keeping(seed: int) -> Run:
    """Who dies between the two, while no controller leads, tells other things under the same counts."""
    plan = Plan(dangers=Dangers(deaths=0.02), weathers=("cut-controllers",), weather_every_s=5.0)
    with patch("fleetbus.agent.main.Reporter", HastyReporter):
        return scenario.run(seed, plan, chapters=_CHAPTERS)


def without_session_fence(seed: int) -> Run:
    """Two agents of one cluster, and the late writes of the one that no longer speaks for it."""
    dangers = Dangers(late_writes=0.1, late_s=25.0)
    plan = Plan(dangers=dangers, weathers=("second-agent", "terminate-one"), weather_every_s=10.0)
    return scenario.run(seed, plan, unfenced=frozenset({"state", "result"}), chapters=_CHAPTERS)


def without_term_fence(seed: int) -> Run:
    """A controller that leads no more, and its late writes."""
    dangers = Dangers(late_writes=0.1, late_s=25.0)
    plan = Plan(dangers=dangers, weathers=("terminate-one", "kill-one"), weather_every_s=5.0)
    return scenario.run(seed, plan, unfenced=frozenset({"desired", "command"}), chapters=_CHAPTERS)


@pytest.mark.parametrize(
    ("variant", "shows"),
    [
        (without_periodic_read, "does not settle"),
        (without_order_check, "accepted desired went from"),
        (publishing_before_keeping, "transition|event"),
        (without_session_fence, "written under the session of"),
        (without_term_fence, "written without the term|desired.* went from|command.* went from"),
    ],
)
def test_a_safeguard_less_is_noticed(variant: Live, shows: str) -> None:
    tried = list[Run]()
    with closing(seeds.live_through(variant, range(MOST_SEEDS))) as runs:
        for run in runs:
            tried.append(run)
            if re.search(shows, run.problem):
                return
    pytest.fail(f"{len(tried)} seeds did not notice: {[run.problem[:120] for run in tried if run.problem]}")
