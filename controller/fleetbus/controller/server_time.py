"""The bus server's time, by which controllers agree: its last known timestamp, carried on by our steady clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from fleetbus.runtime.clock import Clock

AHEAD = timedelta(minutes=5)
"""How far the bus's time may be ahead of this machine's in what is signed."""

_log = structlog.get_logger("controller")


class ServerTime:
    """Never goes back. Before the server was heard it is this machine's own time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: tuple[datetime, float] | None = None
        self._told = False

    def heard(self, at: datetime | None) -> None:
        """A timestamp that the server gave to something; older ones change nothing."""
        if at is not None and (self._heard is None or at > self.now()):
            self._heard = (at, self._clock.monotonic_s())

    def now(self) -> datetime:
        if self._heard is None:
            return self._clock.now()
        at, then_s = self._heard
        return at + timedelta(seconds=self._clock.monotonic_s() - then_s)

    def to_sign(self) -> datetime:
        """For times that clusters are told: whoever owns the broker must not make them valid for years."""
        now, most = self.now(), self._clock.now() + AHEAD
        if now <= most:
            return now
        if not self._told:
            self._told = True
            _log.warning(
                "the bus's time is far ahead of this machine's", seconds=int((now - most).total_seconds())
            )
        return most
