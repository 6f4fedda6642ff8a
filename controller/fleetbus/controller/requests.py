"""Requests that change something: signed by who asks, asked now, and acted on once.

The bus's owner can keep a request and deliver it again. What was acted on is remembered for as long as it would be
accepted, and a controller that begins to lead, which remembers nothing, accepts nothing that was signed before.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from fleetbus.runtime.clock import Clock
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.errors import SignatureRefused, Stale, Transient
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.requests import Statement, stated

LATE_S = 60.0
"""So long after it was signed a request is accepted; clients wait for half of that."""
AHEAD_S = 5.0
"""So far the clock of who asks may be ahead of the controller's."""
MOST = 4096
"""Requests of one operator that are remembered: more changes within LATE_S are refused."""

_CLOCK = "set the clock of this machine and that of the controller, and ask again"
_AGAIN = "ask again; if that does not help, the clock of this machine is behind the controller's"


class Requests:
    """What was asked in this term."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._latest = clock.now()
        self._seen: dict[str, OrderedDict[str, datetime]] = {}
        """By the key of who asks: ids, and until when each would still be accepted."""

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
        now = self._latest = max(self._latest, self._clock.now())
        self._in_time(found, now, where)
        self._remember(claims.subject, found, now, where)

    def _in_time(self, found: Statement, now: datetime, where: str) -> None:
        if found.at < now - timedelta(seconds=LATE_S):
            raise Stale(f"it was signed more than {LATE_S:g} s ago", where=where, remedy=_CLOCK)
        if found.at > now + timedelta(seconds=AHEAD_S):
            raise Stale(f"it was signed more than {AHEAD_S:g} s from now", where=where, remedy=_CLOCK)
        if found.at < self._began:
            raise Stale("it was signed before this controller began to lead", where=where, remedy=_AGAIN)

    def _remember(self, key: str, found: Statement, now: datetime, where: str) -> None:
        ids = self._seen.setdefault(key, OrderedDict())
        while ids and next(iter(ids.values())) < now:
            ids.popitem(last=False)
        if found.id in ids:
            raise Stale("it was asked before", where=where, remedy="ask again; a request counts once")
        if len(ids) >= MOST:
            raise Transient(
                f"{MOST} changes were asked by this operator within a minute",
                where=where,
                remedy="ask more slowly",
            )
        ids[found.id] = now + timedelta(seconds=LATE_S + AHEAD_S)
