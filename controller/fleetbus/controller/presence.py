"""Who is there: advisories and listings of the bus's servers say who is connected, heartbeats who is responsive.

All of it is unsigned. A server's word can be forged by the broker's owner, a heartbeat by whoever has the cluster's
credential: so it is shown, and decides nothing that must be safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from fleetbus.controller.connections import Connections
from fleetbus.controller.member import Member
from fleetbus.controller.ports import Change, Presence
from fleetbus.controller.views import CLUSTER, Known, cluster_spec
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.nats_connections import list_connections
from fleetbus.runtime.ports import Bus, Message, Subscription
from fleetbus.schemas import presence_subjects, subjects
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.connections import parse_connect, parse_disconnect
from fleetbus.schemas.errors import FleetbusError, MessageMalformed
from fleetbus.schemas.limits import BEAT_AT_MOST_EVERY_S
from fleetbus.schemas.nats_jwt import Claims, read

SETTLE_S = 10.0
"""After this controller's own connection was made anew: its cause may have cut off the clusters as well."""
LIST_EVERY_S = 60.0
LIST_AGAIN_S = 2.0
TICK_S = 2.5
GONE = Presence("disconnected", responsive=False)
REQUEST_INFO = "Nats-Request-Info"

_log = structlog.get_logger("controller")


class PresenceFollower:
    """Puts every cluster's presence into what is known, for the length of one term."""

    def __init__(self, bus: Bus, clock: Clock, known: Known) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._members: dict[str, Member] = {}
        self._names: dict[str, str] = {}
        self._realms: dict[str, Connections] = {}
        self._observed: set[str] = set()
        self._untold: set[str] = set()
        self._settled_s = 0.0
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        advisories = self._bus.subscribe(presence_subjects.ALL_PRESENCE, capacity=65536)
        heartbeats = self._bus.subscribe(subjects.ALL_HEARTBEATS, capacity=65536)
        async with advisories as moves, heartbeats as beats, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list())
            tasks.create_task(self._note_reconnects())
            tasks.create_task(self._judge())
            tasks.create_task(self._take_all(moves, self._take_advisory))
            tasks.create_task(self._take_all(beats, self._take_heartbeat))

    def restore(self) -> None:
        """As the last controller showed it: a new one is no reason to tell anything."""
        self._begin()
        for view in self._known.clusters():
            self._enter(view.id.name)

    def changed(self, change: Change) -> None:
        """A cluster that is new, has gone, or has another key."""
        if change.what == "document" and change.kind == CLUSTER:
            self._enter(change.name)

    def _enter(self, name: str) -> None:
        view, member = self._known.cluster(name), self._members.get(name)
        spec = cluster_spec(view.document) if view and view.document.deleting is None else None
        if member is not None and (spec is None or (member.realm, member.key) != (spec.realm, spec.key)):
            del self._members[name]
            self._names.pop(member.key, None)
            member = None
        if view is None:
            return
        if spec is None:
            # Who leaves the fleet is not looked for any more.
            self._known.put_presence(name, GONE)
            return
        if member is None:
            status = self._known.status(view.document.key)
            member = Member.restored(spec.realm, spec.key, status, self._clock.monotonic_s())
            self._members[name], self._names[spec.key] = member, name
        self._look(name)

    async def _take_all(self, messages: Subscription, take: Callable[[Message], None]) -> None:
        async for message in messages:
            try:
                take(message)
            except MessageMalformed as error:
                _log.warning("a message about presence is left out", reason=error.message)
            except Exception as error:  # The edge of the loop: one message must not stop the others.
                _log.error("presence failed", error=type(error).__name__, raised_at=raised_at(error))

    def _take_advisory(self, message: Message) -> None:
        told = presence_subjects.parse_presence(message.subject)
        if told is None:
            return
        connections = self._connections(told[0])
        if told[1] == presence_subjects.CONNECT:
            connection = parse_connect(message.data)
            connections.came(connection)
            key = connection.nkey
            if len(connections.of(key)) > 1:
                # Does the former one still stand? A server that died tells of no end.
                self._wanted.set()
        else:
            ended = parse_disconnect(message.data)
            connections.left(ended)
            key = ended.connection.nkey
            if member := self._members.get(self._names.get(key, "")):
                member.left = cleaned(ended.reason, 80)
        self._look(self._names.get(key, ""))

    def _take_heartbeat(self, message: Message) -> None:
        cluster = subjects.parse_cluster(message.subject, "heartbeat")
        member = self._members.get(cluster.name) if cluster else None
        if cluster is None or member is None or member.realm != cluster.realm:
            return
        now_s = self._clock.monotonic_s()
        self._known.sent[cluster.name] += 1
        if now_s - member.beats.heard_s < BEAT_AT_MOST_EVERY_S:
            return
        user = requester(message)
        if user and user != member.key:
            return
        member.hear(now_s)
        self._known.put_seen(cluster.name, self._clock.now())
        self._show(cluster.name, member)
        if not member.linked.up:
            # An advisory was lost, or is on its way.
            self._wanted.set()

    # connections

    async def _note_reconnects(self) -> None:
        seen = self._bus.connection
        while True:
            seen = await self._bus.connection_changed(seen)
            self._begin()
            self._wanted.set()

    def _begin(self) -> None:
        """Whatever was known of connections may have changed unseen."""
        self._settled_s = self._clock.monotonic_s() + SETTLE_S
        self._realms.clear()
        self._observed.clear()
        for member in self._members.values():
            member.awaited = True

    async def _list(self) -> None:
        """At the start, after a reconnect, when something does not fit, and now and then: advisories get lost."""
        while True:
            self._wanted.clear()
            agrees = True
            try:
                for realm in sorted({subjects.MAIN, *(one.realm for one in self._members.values())}):
                    agrees &= await self._list_realm(realm)
            except FleetbusError as error:
                agrees = False
                _log.warning("connections cannot be listed", reason=error.message)
            await self._clock.sleep(LIST_AGAIN_S)
            if agrees:
                await self._until_wanted()

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(self._clock.jitter(LIST_EVERY_S)):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _list_realm(self, realm: str) -> bool:
        """Whether what was answered is what was known."""
        connections = self._connections(realm)
        connections.begin_listing()
        question = presence_subjects.realm_connections(realm)
        inbox = subjects.CONTROLLER_INBOX
        pages = await list_connections(self._bus, self._clock, question, inbox, connections.known)
        if connections is not self._connections(realm):
            return False
        if not pages:
            if realm not in self._untold:
                _log.warning("no server tells who is connected", realm=realm)
            self._untold.add(realm)
            self._observed.discard(realm)
            return True
        self._untold.discard(realm)
        self._observed.add(realm)
        agrees = connections.listed(pages)
        for name, member in list(self._members.items()):
            if member.realm == realm:
                self._look(name)
        return agrees

    def _connections(self, realm: str) -> Connections:
        return self._realms.setdefault(realm, Connections())

    def _look(self, name: str) -> None:
        """After connections may have changed, or time has passed."""
        member = self._members.get(name)
        if member is None:
            return
        now_s = self._clock.monotonic_s()
        found = self._connections(member.realm).of(member.key)
        self._known.put_connections(name, found)
        observed = member.realm in self._observed and self._bus.connected
        member.look(len(found), now_s, observed=observed, settled=now_s >= self._settled_s)
        self._show(name, member)

    def _show(self, name: str, member: Member) -> None:
        self._known.put_presence(name, member.presence())

    async def _judge(self) -> None:
        """What follows from time alone. While the bus is away nobody can be heard, which says nothing of them."""
        connection, last_s = self._bus.connection, self._clock.monotonic_s()
        while True:
            await self._clock.sleep(TICK_S)
            now_s = self._clock.monotonic_s()
            sent, took_s, last_s = self._known.sent.copy(), now_s - last_s, now_s
            self._known.sent.clear()
            deaf = not self._bus.connected or self._bus.connection != connection
            connection = self._bus.connection
            for name, member in list(self._members.items()):
                member.wait(now_s, deaf=deaf)
                member.count(sent[name], took_s, now_s)
                self._look(name)


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
