"""Requests that change something: signed by who asks, asked now, and acted on once.

The bus's owner can keep a request and deliver it again. What was acted on is remembered for as long as it would be
accepted, and a controller that begins to lead, which remembers nothing, accepts nothing that was signed before.
"""

from __future__ import annotations

from collections import OrderedDict

from fleetbus.runtime.clock import Clock
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.errors import SignatureRefused, Stale, Transient
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.requests import Statement, stated

LATE_S = 60.0
"""So long after it was signed a request is accepted; clients wait for half of that."""
AHEAD_S = 5.0
"""So far the clock of who asks may be ahead of the controller's."""
MOST = 65536
"""Requests that are remembered: more changes within LATE_S are refused."""

_CLOCK = "set the clock of this machine, and that of the controller's"


class Requests:
    """What was asked in this term."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def accept(self, verb: str, statement: bytes, body: bytes, claims: Claims) -> None:
        """Only what the key in this token has signed, of this verb and body, now and for the first time.

        Raises MessageMalformed, MessageTooNew, SignatureRefused, Stale, Transient.
        """
        where = f"request `{verb}`"
        if not statement:
            raise SignatureRefused(
                "it changes something and is not signed by who asks",
                where=where,
                remedy="use the command or the client library of the controller's version",
            )
        found = stated(statement, verb, claims.subject)
        if found.body != digest(body):
            raise SignatureRefused("what is asked is not what was signed", where=where)
        if found.issuer != claims.issuer:
            raise SignatureRefused("it was signed for another role or fleet", where=where)
        self._in_time(found, where)
        self._remember((claims.subject, found.id), where)

    def _in_time(self, found: Statement, where: str) -> None:
        late_s = (self._clock.now() - found.at).total_seconds()
        if late_s > LATE_S:
            raise Stale(f"it was signed {late_s:.0f} s ago", where=where, remedy=f"{_CLOCK}, and ask again")
        if late_s < -AHEAD_S:
            raise Stale(f"it was signed {-late_s:.0f} s from now", where=where, remedy=_CLOCK)
        if found.at < self._began:
            raise Stale("it was signed before this controller began to lead", where=where, remedy="ask again")

    def _remember(self, request: tuple[str, str], where: str) -> None:
        now_s = self._clock.monotonic_s()
        while self._seen and next(iter(self._seen.values())) < now_s:
            self._seen.popitem(last=False)
        if request in self._seen:
            raise Stale("it was asked before", where=where, remedy="ask again, do not repeat the bytes")
        if len(self._seen) >= MOST:
            raise Transient(
                f"more than {MOST} changes were asked within a minute", where=where, remedy="ask more slowly"
            )
        self._seen[request] = now_s + LATE_S + AHEAD_S
