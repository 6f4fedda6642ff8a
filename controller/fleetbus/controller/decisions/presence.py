"""Whether a cluster is connected and responsive, from what is seen of it. Pure: times are seconds of one clock.

Damped: a link that turns often is `flapping` until it has been quiet, which is one condition and one event; a
cluster whose heartbeats had stopped on a connection that stood is believed at the second one; more connections than
an agent can need are told when they last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fleetbus.controller.ports import Link
from fleetbus.schemas.capabilities.clusters import HEARTBEAT_S, MISSED_HEARTBEATS
from fleetbus.schemas.limits import CONNECTIONS_AN_AGENT, FLOOD_OVER_AFTER_S, MESSAGES_PER_S

WINDOW_S = 300.0
MOST_TURNS = 8
"""So many in a window, four times lost and found, are flapping."""
QUIET_S = 60.0
"""Without a turn for so long it flaps no more."""
SILENT_AFTER_S = HEARTBEAT_S * MISSED_HEARTBEATS
BELIEVED_AT = 2
"""Heartbeats in a row, after it was silent on a connection that stood."""
CROWDED_AFTER_S = 15.0
"""Longer than a connection whose other end is gone stays open: three pings of three seconds."""
CALM_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Linked:
    """`up`: None before anything was seen. `turns`: when it turned, the newest last, as many as can matter."""

    up: bool | None = None
    turns: tuple[float, ...] = ()
    flapping: bool = False

    @property
    def link(self) -> Link:
        if self.flapping:
            return "flapping"
        if self.up is None:
            return "unobserved"
        return "connected" if self.up else "disconnected"


def turned(before: Linked, up: bool, now_s: float) -> Linked:
    """After it was seen `up` or not."""
    before = calmed(before, now_s)
    if before.up == up:
        return before
    if before.up is None and not before.flapping:
        return replace(before, up=up)
    turns = (*before.turns, now_s)[-MOST_TURNS:]
    many = len(turns) == MOST_TURNS and now_s - turns[0] <= WINDOW_S
    return Linked(up, turns, before.flapping or many)


def calmed(before: Linked, now_s: float) -> Linked:
    """After time has passed."""
    if before.flapping and (not before.turns or now_s - before.turns[-1] >= QUIET_S):
        return Linked(before.up)
    return before


@dataclass(frozen=True, slots=True)
class Beats:
    """Heartbeats. `responsive`: None while the first on a new connection is awaited. Silence counts from `since_s`."""

    responsive: bool | None = None
    heard_s: float = -math.inf
    since_s: float = -math.inf
    in_row: int = 0


def heard(before: Beats, now_s: float) -> Beats:
    in_row = 1 if now_s - before.heard_s >= SILENT_AFTER_S else before.in_row + 1
    back = before.responsive is not False or in_row >= BELIEVED_AT
    return Beats(back, now_s, now_s, in_row)


def began(before: Beats, now_s: float) -> Beats:
    """It has connected anew, so it has the usual time to be heard, and what was before counts no more."""
    lately = before.responsive is True and now_s - before.heard_s < SILENT_AFTER_S
    return replace(before, responsive=True if lately else None, since_s=now_s, in_row=0)


def excused(before: Beats, now_s: float) -> Beats:
    """Nobody could be heard until now."""
    return replace(before, since_s=now_s)


def missed(before: Beats, now_s: float) -> Beats:
    """After time has passed."""
    if before.responsive is False or now_s - before.since_s < SILENT_AFTER_S:
        return before
    return replace(before, responsive=False, in_row=0)


@dataclass(frozen=True, slots=True)
class Flood:
    """Whether a cluster sends more than an agent can have to say; `last_s`: when it did so last."""

    told: bool = False
    last_s: float = -math.inf


def measured(before: Flood, per_s: float, now_s: float) -> Flood:
    """After it has sent so many messages a second."""
    if per_s > MESSAGES_PER_S:
        return Flood(True, now_s)
    if before.told and now_s - before.last_s >= FLOOD_OVER_AFTER_S:
        return Flood()
    return before


@dataclass(frozen=True, slots=True)
class Crowd:
    """Whether one key has more connections than it can need. `since_s`: since when what is seen is not `told`."""

    told: bool = False
    since_s: float | None = None


def counted(before: Crowd, connections: int, now_s: float) -> Crowd:
    seen = connections > CONNECTIONS_AN_AGENT
    if seen == before.told:
        return Crowd(seen)
    since_s = now_s if before.since_s is None else before.since_s
    lasts = now_s - since_s >= (CROWDED_AFTER_S if seen else CALM_AFTER_S)
    return Crowd(seen) if lasts else Crowd(before.told, since_s)
