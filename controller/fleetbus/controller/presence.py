"""Who is connected: heartbeats as they come, and the time since the last by this controller's own clock."""

from __future__ import annotations

import asyncio

import structlog

from fleetbus.controller.views import Known, cluster_spec
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, Message
from fleetbus.schemas import conditions, subjects
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities.clusters import CONNECTED, HEARTBEAT_S, MISSED_HEARTBEATS
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.nats_jwt import Claims, read
from fleetbus.schemas.states import Heartbeat

AWAY_AFTER_S = HEARTBEAT_S * MISSED_HEARTBEATS
REQUEST_INFO = "Nats-Request-Info"

_log = structlog.get_logger("controller")


class Presence:
    """Heartbeats are unsigned: they prove nothing but that somebody with the cluster's credential is there."""

    def __init__(self, bus: Bus, clock: Clock, known: Known) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._heard_s: dict[str, float] = {}

    async def run(self) -> None:
        subscribed = self._bus.subscribe(subjects.ALL_HEARTBEATS, capacity=65536)
        async with subscribed as heartbeats, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._judge())
            async for message in heartbeats:
                try:
                    self._take(message)
                except Exception as error:  # The edge of the loop: one heartbeat must not stop the others.
                    _log.error("a heartbeat failed", error=type(error).__name__, raised_at=raised_at(error))

    def restore(self) -> None:
        """Whoever was connected when the last controller looked has the usual time to be heard again."""
        for view in self._known.clusters():
            status = self._known.status(view.document.key)
            condition = conditions.find(status.conditions, CONNECTED) if status else None
            if condition is not None and condition.status == "True":
                self._heard(view.id.name)

    def _take(self, message: Message) -> None:
        cluster = subjects.parse_cluster(message.subject, "heartbeat")
        view = self._known.cluster(cluster.name) if cluster else None
        if cluster is None or view is None or view.id != cluster:
            return
        spec = cluster_spec(view.document)
        user = requester(message)
        if spec is None or (user and user != spec.key):
            return
        self._heard(cluster.name, _server(message))

    def _heard(self, name: str, server: str = "") -> None:
        self._heard_s[name] = self._clock.monotonic_s()
        self._known.put_seen(name, self._clock.now(), server)

    async def _judge(self) -> None:
        connection = self._bus.connection
        while True:
            now_s = self._clock.monotonic_s()
            next_s = now_s + AWAY_AFTER_S / 4
            if not self._bus.connected or self._bus.connection != connection:
                # While the bus is away nobody can be heard, which says nothing about the clusters.
                connection = self._bus.connection
                self._heard_s = dict.fromkeys(self._heard_s, now_s)
            for name, heard_s in list(self._heard_s.items()):
                due_s = heard_s + AWAY_AFTER_S
                if due_s <= now_s:
                    del self._heard_s[name]
                    self._known.put_away(name)
                else:
                    next_s = min(next_s, due_s)
            await self._clock.sleep(max(0.1, next_s - now_s))


def _server(message: Message) -> str:
    """Where the agent says it is connected; a heartbeat that cannot be read is one all the same."""
    try:
        return cleaned(Heartbeat.from_bytes(message.data).server, 64)
    except MessageMalformed:
        return ""


def requester(message: Message) -> str:
    """The public nkey of who sent it, as the server wrote it when the message crossed into this account.

    It is the key in the token that the server has verified; `user` beside it is whatever the client said when it
    connected. Empty when the message did not cross. Meaningless for stored messages, whose headers anybody could
    have written.
    """
    if not message.headers.get(REQUEST_INFO, ""):
        return ""
    claims = requester_claims(message)
    return claims.subject if claims else "unreadable"


def requester_claims(message: Message) -> Claims | None:
    """What the token of who sent it says, which the server has verified; None when there is none to be read."""
    try:
        token = requester_token(message)
        return read(token) if token else None
    except MessageMalformed:
        return None


def requester_token(message: Message) -> str:
    """The token of who sent it; empty for none. Raises MessageMalformed."""
    told = parse_json(message.headers.get(REQUEST_INFO, "").encode())
    token = told.get("jwt") if isinstance(told, dict) else None
    return token if isinstance(token, str) else ""
