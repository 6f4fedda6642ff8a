"""The port `Bus` on a simulated server, on whatever clock it is given, with faults by a seeded plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

import orjson

from fleetbus.runtime import nats_service
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_follow import REMOVED
from fleetbus.runtime.ports import CaughtUp, Message, Put, Subscription
from fleetbus.schemas import presence_subjects, subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, NotPermitted
from fleetbus.schemas.limits import MAX_PAYLOAD_BYTES
from fleetbus.schemas.streams import STREAMS, Permissions
from tests.simulation.bus_presence import advisory, listing
from tests.simulation.bus_readers import LiveReader, StreamReader, followed
from tests.simulation.bus_streams import SimulatedStream, owner
from tests.tokens import user_token


@dataclass(frozen=True, slots=True)
class BusFaults:
    """How often what goes wrong, as shares of nudges, advisories or calls; times in seconds.

    `unacknowledged`: a write is stored and its acknowledgement lost. `lagging`: a direct get is answered by a
    replica that is up to `lag_s` behind. `cuts`: a call finds the connection cut for up to `cut_s`.
    """

    nudges_lost: float = 0.0
    nudges_late: float = 0.0
    nudges_doubled: float = 0.0
    advisories_lost: float = 0.0
    late_s: float = 2.0
    unacknowledged: float = 0.0
    lagging: float = 0.0
    lag_s: float = 3.0
    cuts: float = 0.0
    cut_s: float = 5.0
    latency_s: float = 0.002


class SimulatedServer:
    """Streams and everybody connected. `bus` makes a client; `cut` and `freeze` break one on purpose."""

    def __init__(self, clock: Clock, chance: Random, faults: BusFaults | None = None) -> None:
        self.clock = clock
        self.chance = chance
        self.faults = faults or BusFaults()
        self.streams = {stream.name: SimulatedStream(stream) for stream in STREAMS}
        self.buses: list[SimulatedBus] = []
        self.connections = 0
        self.tells_connections = True

    def bus(
        self, name: str, permissions: Permissions | None = None, *, account: str = "FLEET", user: str = ""
    ) -> SimulatedBus:
        """A connected client; without permissions it is the controller. `user` is its public nkey."""
        bus = SimulatedBus(self, name, permissions, account, user or name)
        self.buses.append(bus)
        return bus

    def cut(self, bus: SimulatedBus, seconds: float) -> None:
        """Take this client's connection away; it is back after `seconds`."""
        bus.go_offline()
        asyncio.get_running_loop().call_later(seconds, bus.come_online)

    def freeze(self, bus: SimulatedBus) -> None:
        """Leave this client on a server that is cut off: old values for ever, no write acknowledged."""
        bus.as_of = self.clock.now()

    def store(self, stream: SimulatedStream, put: Put) -> int:
        message = stream.store(put, self.clock.now())
        for bus in self.buses:
            bus.tell_followers(stream, message)
        for nudge in stream.nudges(message):
            self._republish(nudge, faulty=not nudge.data)
        for other in self.streams.values():
            if other.copies(stream, message):
                self.store(other, Put(message.subject, message.data))
        return message.sequence

    def deliver(self, message: Message) -> int:
        """Give a message to who listens, one member of each queue; to how many."""
        if question := presence_subjects.parse_realm_connections(message.subject):
            online = [bus.identity for bus in self.buses if bus.connected]
            told = self.tells_connections and question == subjects.MAIN
            answer = listing(online, question, message.data) if told else b""
            return self.deliver(Message(message.reply, answer))
        if any(bus.take_reply(message) for bus in self.buses):
            return 1
        hit = [
            (bus, one)
            for bus in self.buses
            if bus.connected
            for one in bus.subscriptions
            if subjects.matches(one.subject, message.subject)
        ]
        queues = sorted({one.queue for _, one in hit if one.queue})
        chosen = [one for _, one in hit if not one.queue]
        chosen += [self.chance.choice([one for _, one in hit if one.queue == queue]) for queue in queues]
        for one in chosen:
            one.arrive(message)
        return len(chosen)

    def tell(self, advisory: Message | None) -> None:
        """Of a connection that was made or has ended."""
        if (
            advisory is not None
            and self.tells_connections
            and self.chance.random() >= self.faults.advisories_lost
        ):
            self.deliver(advisory)

    def _republish(self, message: Message, *, faulty: bool) -> None:
        faults, roll = self.faults, self.chance.random
        if faulty and roll() < faults.nudges_lost:
            return
        for _ in range(2 if faulty and roll() < faults.nudges_doubled else 1):
            if faulty and roll() < faults.nudges_late:
                loop = asyncio.get_running_loop()
                loop.call_later(roll() * faults.late_s, self.deliver, message)
            else:
                self.deliver(message)


class SimulatedBus:
    """One client of a simulated server. Every call yields to the loop before its effect."""

    def __init__(
        self, server: SimulatedServer, name: str, permissions: Permissions | None, account: str, user: str
    ) -> None:
        self.name = name
        self.subscriptions: list[LiveReader] = []
        self.as_of: datetime | None = None
        self._server = server
        self._permissions = permissions
        self._identity = {"acc": account, "user": user, "jwt": user_token(user, name), "name": name}
        self._followers: list[StreamReader] = []
        self._inboxes: dict[str, asyncio.Future[Message]] = {}
        self._online = True
        self._count = 1
        self._changed = asyncio.Event()
        self._expires_at = 0
        self._denied = False
        self._come()

    @property
    def identity(self) -> tuple[int, dict[str, str], datetime]:
        """Its connection's number, who it is, and since when."""
        return self._number, self._identity, self._since

    def _come(self) -> None:
        self._server.connections += 1
        self._number, self._since = self._server.connections, self._server.clock.now()
        self._server.tell(advisory("connect", *self.identity))

    def _go(self, reason: str) -> None:
        self._server.tell(advisory("disconnect", *self.identity, reason))

    @property
    def connected(self) -> bool:
        self._end_if_expired()
        return self._online

    @property
    def denied(self) -> bool:
        self._end_if_expired()
        return self._denied and not self._online

    def _end_if_expired(self) -> None:
        """The server ends a connection when its credential does."""
        if not self._denied and 0 < self._expires_at <= self._server.clock.now().timestamp():
            self._denied = True
            self.go_offline()

    @property
    def connection(self) -> int:
        return self._count

    @property
    def server(self) -> str:
        return "simulated"

    async def wait_connected(self) -> None:
        while not self._online:
            await self._changed.wait()

    async def connection_changed(self, seen: int) -> int:
        while self._count == seen or not self._online:
            await self._changed.wait()
        return self._count

    async def reconnect(self) -> None:
        if self._online:
            self._server.cut(self, 0.0)

    async def change_credential(self, credential: Credential) -> None:
        """From now on with this one, which the server refuses once its time is over."""
        claims = credential.claims
        self._identity |= {"jwt": credential.token, "user": claims.subject}
        self._expires_at, self._denied = claims.expires_at, False
        if self._online:
            self._server.cut(self, 0.0)
        else:
            self.come_online()

    def go_offline(self) -> None:
        if self._online:
            self._go("Client Closed")
        self._online = False
        self.as_of = None
        for waiting in self._inboxes.values():
            if not waiting.done():
                waiting.set_exception(BusUnavailable("the connection ended"))
        self._announce()

    def come_online(self) -> None:
        if self._online or self._denied:
            return
        self._online, self._count = True, self._count + 1
        for follower in self._followers:
            follower.begin(self._server.streams[follower.stream], self._server.clock.now())
        self._come()
        self._announce()

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        await self._call()
        self._send(Message(subject, data, reply, dict(headers or {})))

    async def request(
        self, subject: str, data: bytes, *, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
    ) -> Message:
        await self._call(subject)
        inbox = f"_INBOX.{self._server.clock.identifier()}"
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._inboxes[inbox] = answered
        try:
            self._permit(subject)
            if not self._send(Message(subject, data, inbox, dict(headers or {}))):
                raise BusUnavailable("nobody answers there", where=subject)
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError as cause:
            raise BusUnavailable(f"no answer within {timeout_s:g} s", where=subject) from cause
        finally:
            self._inboxes.pop(inbox)

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", capacity: int = 4096
    ) -> AsyncIterator[Subscription]:
        try:
            async with asyncio.timeout(10):
                await self.wait_connected()
        except TimeoutError as cause:
            raise BusUnavailable("there is no connection to the bus", where=subject) from cause
        allowed = self._permissions and any(
            subjects.matches(one, subject) for one in self._permissions.subscribe
        )
        if self._permissions is not None and not allowed:
            raise NotPermitted("this credential may not subscribe there", where=subject)
        one = LiveReader(subject, queue, capacity)
        self.subscriptions.append(one)
        try:
            yield one
        finally:
            self.subscriptions.remove(one)
            one.end()

    async def serve(
        self,
        name: str,
        version: str,
        description: str,
        endpoints: Mapping[str, str],
        answer: Callable[[str, Message], Awaitable[bytes]],
    ) -> None:
        clock = self._server.clock
        await nats_service.serve(self, clock, name, version, description, endpoints, answer)

    async def put(self, put: Put) -> int:
        await self._call(put.subject)
        stream = owner(self._server.streams.values(), put.subject)
        await self._writable(put.subject)
        stream.check(put, self._server.clock.now())
        return self._acknowledged(self._server.store(stream, put), put.subject)

    async def put_batch(self, puts: Sequence[Put]) -> int:
        if not 0 < len(puts) <= 1000:
            raise MessageMalformed(f"a batch holds 1 to 1000 messages, not {len(puts)}")
        await self._call()
        for put in puts:
            self._permit(put.subject)
        stream = owner(self._server.streams.values(), puts[0].subject)
        await self._writable(puts[0].subject)
        stream.check_batch(puts, self._server.clock.now())
        sequences = [self._server.store(stream, put) for put in puts]
        return self._acknowledged(sequences[-1], puts[0].subject)

    async def get_last(self, stream: str, subject: str) -> Message | None:
        await self._call(subjects.direct_get(stream, subject))
        faults, chance, now = self._server.faults, self._server.chance, self._server.clock.now()
        as_of = self.as_of
        if as_of is None and chance.random() < faults.lagging:
            as_of = now - timedelta(seconds=chance.random() * faults.lag_s)
        return self._stream(stream).find(subject, now, as_of)

    async def get_many(
        self, stream: str, subject: str, *, after: int = 0, since: datetime | None = None, limit: int = 1000
    ) -> list[Message]:
        await self._call(subjects.direct_get(stream))
        found = self._stream(stream).matching(subject, self._server.clock.now())
        return [
            message
            for message in found
            if message.sequence > after and (since is None or (message.stored_at or since) >= since)
        ][:limit]

    async def get_at(self, stream: str, sequence: int) -> Message | None:
        await self._call(subjects.direct_get(stream))
        found = self._stream(stream).matching(">", self._server.clock.now())
        return next((message for message in found if message.sequence == sequence), None)

    async def follow(self, stream: str, subject: str) -> AsyncGenerator[Message | CaughtUp, None]:
        self._controller_only(subjects.jetstream_api(f"CONSUMER.CREATE.{stream}"))
        follower = StreamReader(stream, subject)
        await self.wait_connected()
        follower.begin(self._stream(stream), self._server.clock.now())
        self._followers.append(follower)
        try:
            while True:
                yield await follower.next()
        finally:
            self._followers.remove(follower)

    async def purge(self, stream: str, subject: str) -> int:
        self._controller_only(subjects.jetstream_api(f"STREAM.PURGE.{stream}"))
        await self._call()
        if self._stream(stream).config.keeps_for_ever:
            raise BusUnavailable("stream purge not permitted", where=stream)
        purged = self._stream(stream).purge(subject, self._server.clock.now())
        for name in sorted({message.subject for message in purged}):
            for follower in self._followers:
                if follower.stream == stream and subjects.matches(follower.subject, name):
                    follower.arrive(Message(name, b"", headers=REMOVED, sequence=self._stream(stream).last))
        return len(purged)

    def tell_followers(self, stream: SimulatedStream, message: Message) -> None:
        """The server stored a message: whoever follows it gets it."""
        for follower in self._followers:
            matches = subjects.matches(follower.subject, message.subject)
            if self._online and follower.stream == stream.config.name and matches:
                follower.arrive(followed(message))

    def take_reply(self, message: Message) -> bool:
        """Whether this client asked for the message."""
        waiting = self._inboxes.get(message.subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        return waiting is not None

    async def _call(self, subject: str = "") -> None:
        """The way to the server: time, chance, permission. Raises BusUnavailable, NotPermitted."""
        faults, roll = self._server.faults, self._server.chance.random
        await self._server.clock.sleep(roll() * faults.latency_s)
        self._end_if_expired()
        if self._online and roll() < faults.cuts:
            self._server.cut(self, roll() * faults.cut_s)
        if not self._online:
            raise BusUnavailable("there is no connection to the bus")
        if subject:
            self._permit(subject)

    def _permit(self, subject: str) -> None:
        if self._permissions is not None and not self._may(subject):
            raise NotPermitted("this credential may not publish there", where=subject)

    def _may(self, subject: str) -> bool:
        allowed = self._permissions.publish if self._permissions else (">",)
        return any(subjects.matches(one, subject) for one in allowed)

    def _controller_only(self, subject: str) -> None:
        if self._permissions is not None:
            raise NotPermitted("this credential may not publish there", where=subject)

    def _send(self, message: Message) -> int:
        """To how many; what is not permitted is dropped in silence, as the server tells nobody in particular."""
        if len(message.data) > MAX_PAYLOAD_BYTES:
            raise MessageMalformed("more bytes than a message may hold", where=message.subject)
        if not (self._may(message.subject) or message.subject.startswith("_INBOX")):
            return 0
        if self._permissions is not None:
            identity = {"Nats-Request-Info": orjson.dumps(self._identity).decode()}
            message = replace(message, headers=dict(message.headers) | identity)
        return self._server.deliver(message)

    async def _writable(self, subject: str) -> None:
        if self.as_of is not None:
            await self._server.clock.sleep(5.0)
            raise BusUnavailable("no answer within 5 s", where=subject)

    def _acknowledged(self, sequence: int, subject: str) -> int:
        if self._server.chance.random() < self._server.faults.unacknowledged:
            raise BusUnavailable("no answer within 5 s", where=subject)
        return sequence

    def _stream(self, name: str) -> SimulatedStream:
        if name not in self._server.streams:
            raise BusUnavailable("nobody answers there", where=name)
        return self._server.streams[name]

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
