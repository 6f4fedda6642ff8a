"""What goes wrong in one run, drawn from its seed: each kind of fault is there or not, mild or wild."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.simulation.bus import BusFaults
from tests.simulation.kube import KubeFaults
from tests.simulation.mortal import Dangers

WEATHERS = (
    "cut-one",
    "cut-controllers",
    "freeze-agent",
    "kill-one",
    "terminate-one",
    "kube-away",
    "kube-away-long",
    "vault-sealed",
    "git-away",
    "second-agent",
)
"""What happens from time to time, beside the faults of single calls."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`kills`: the share of loop steps after which a random process is killed. `skews_s`: by machine."""

    bus: BusFaults = field(default_factory=BusFaults)
    kube: KubeFaults = field(default_factory=KubeFaults)
    dangers: Dangers = field(default_factory=Dangers)
    kills: float = 0.0
    vault_unavailable: float = 0.0
    git_unreachable: float = 0.0
    weathers: tuple[str, ...] = ()
    weather_every_s: float = 30.0
    skew_s: float = 0.0
    knows_the_dead: bool = False
    """Whether a standby can tell at once that the leader's process is no more."""


CALM = Plan()


def draw(chance: Random) -> Plan:
    """One plan. Half of all kinds of faults are away in any one run, so that each also meets the others' absence."""

    def share(most: float) -> float:
        return chance.random() ** 2 * most if chance.random() < 0.5 else 0.0

    bus = BusFaults(
        nudges_lost=share(0.8),
        advisories_lost=share(0.5),
        nudges_late=share(0.5),
        nudges_doubled=share(0.3),
        late_s=chance.choice((0.05, 2.0, 20.0)),
        unacknowledged=share(0.1),
        lagging=share(0.5),
        lag_s=chance.choice((0.05, 3.0, 20.0)),
        cuts=share(0.02),
        cut_s=chance.choice((0.1, 5.0, 15.0)),
        latency_s=chance.choice((0.002, 0.02, 0.2)),
    )
    kube = KubeFaults(
        refused=share(0.1),
        lost=share(0.1),
        conflicts=share(0.05),
        cuts=share(0.2),
        late_s=chance.choice((0.0, 0.0, 0.5, 2.0)),
        latency_s=chance.choice((0.002, 0.02, 0.1)),
    )
    return Plan(
        bus=bus,
        kube=kube,
        dangers=Dangers(deaths=share(0.01), late_writes=share(0.05)),
        kills=share(0.001),
        vault_unavailable=share(0.2),
        git_unreachable=share(0.3),
        weathers=tuple(one for one in WEATHERS if chance.random() < 0.5),
        weather_every_s=chance.choice((10.0, 30.0, 60.0)),
        skew_s=chance.choice((0.0, 2.0, 240.0)),
        knows_the_dead=chance.random() < 0.5,
    )
