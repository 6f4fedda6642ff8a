"""The Bus port on NATS: one connection at a time, supervised, and everything that outlives a connection."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog

from fleetbus.runtime import nats_jetstream as jetstream
from fleetbus.runtime import nats_service
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.nats_follow import Follower
from fleetbus.runtime.nats_link import Link
from fleetbus.runtime.nats_subscription import LiveSubscription, live_message
from fleetbus.runtime.ports import CaughtUp, Message, Put, Subscription
from fleetbus.runtime.trust import Trust
from fleetbus.schemas.bus_address import BusAddress, parse_addresses
from fleetbus.schemas.bus_proxy import BusProxy, proxy_for
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotPermitted
from fleetbus.schemas.nkeys import key_of_seed

_CONNECTED_TIMEOUT_S = 10.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CANCEL_AGAIN_S = 0.5
_STEADY_S = 5.0
_MOST_NOTED = 100
_SETTLE_TIMEOUT_S = 10.0
_DENIED = re.compile(
    r"authorization violation|authentication (expired|revoked|timeout)|account authentication", re.I
)


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Where the bus is, by which authority, and who connects.

    `inbox_prefix` is the one that this credential may subscribe to. `insecure`: plaintext addresses of this machine
    are taken, as whoever made the fleet with --insecure-dev has marked it; without it there are none. `proxy`: the
    URL of an HTTP proxy, secret when it holds a login; `direct` for none; '' leaves it to HTTPS_PROXY and NO_PROXY.
    """

    servers: tuple[str, ...]
    credential: Credential
    inbox_prefix: str
    name: str
    trust: Trust = field(default_factory=Trust)
    insecure: bool = False
    proxy: str = field(default="", repr=False)

    def addresses(self) -> tuple[BusAddress, ...]:
        """Raises SettingsInvalid."""
        return parse_addresses(self.servers, insecure=self.insecure)

    def proxy_to(self, address: BusAddress) -> BusProxy | None:
        """Raises SettingsInvalid."""
        return proxy_for(address, self.proxy, os.environ)


class NatsBus:
    """The Bus on NATS for the length of a context. Entering does not wait for a connection.

    A connection that ends is followed by another: the first attempt at once, later ones with growing, jittered
    pauses of at most five seconds, through `servers` in turn. Subscriptions, services and followers go on.
    """

    def __init__(
        self, settings: BusSettings, clock: Clock, log: structlog.typing.FilteringBoundLogger | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log or structlog.get_logger("bus")
        self._link: Link | None = None
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._live: list[LiveSubscription] = []
        self._followers: list[Follower] = []
        self._refused: set[str] = set()
        self._denied = False
        self._credential = settings.credential
        self._addresses: tuple[BusAddress, ...] = ()
        self._server: BusAddress | None = None
        self._changing = asyncio.Lock()
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._addresses = self._settings.addresses()
        await asyncio.to_thread(self._settings.trust.context, self._credential.seed)
        proxies = {str(proxy) for one in self._addresses if (proxy := self._settings.proxy_to(one))}
        if proxies:
            self._log.info("the bus is reached through a proxy", proxy=", ".join(sorted(proxies)))
        if not all(one.encrypted for one in self._addresses):
            self._log.warning("the bus is not encrypted", remedy="for development only: --insecure-dev")
        self._supervisor = asyncio.create_task(self._supervise(), name="bus")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        while self._supervisor is not None and not self._supervisor.done():
            # Once is not enough: `asyncio.wait_for`, in which a connection is made, loses a cancellation that comes
            # when what it waits for has just ended (Python 3.11), as where a server refuses again and again.
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor], timeout=_CANCEL_AGAIN_S)
        for live in self._live:
            live.end()
        self._announce()

    @property
    def connected(self) -> bool:
        return self._link is not None and self._link.alive

    @property
    def connection(self) -> int:
        return self._count

    @property
    def denied(self) -> bool:
        return self._denied and not self.connected

    @property
    def server(self) -> str:
        return self._link.connection.server_name if self._link is not None else ""

    async def wait_connected(self) -> None:
        await self._wait_link()

    async def connection_changed(self, seen: int) -> int:
        while self._count == seen or not self.connected:
            await self._next_change()
        return self._count

    async def reconnect(self) -> None:
        """Leaves at once; `connection_changed` tells when the next connection stands."""
        if self._link is not None:
            await self._link.connection.close()

    async def change_credential(self, credential: Credential) -> None:
        async with self._changing:
            self._credential, self._denied = credential, False
            former = self._link
            if former is None or not former.alive or self._server is None:
                return
            link = await self._opened(self._server)
            try:
                leaving = [live.move(link.connection) for live in self._live]
                await link.connection.barrier()
                if self._link is not former:
                    raise BusUnavailable("the connection ended while another was made")
                self._adopt(link)
                # Who subscribed in the meantime did so on the former one.
                leaving += [live.move(link.connection) for live in self._live]
                # What the server has sent on the former connection is here before it is left.
                await _settled(former)
            except BusUnavailable:
                if self._link is not link:
                    await link.connection.close()
                    raise
            for leave in leaving:
                leave()
            await former.connection.close()

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        await self._here().connection.send(subject, data, reply=reply, headers=headers)

    async def request(
        self, subject: str, data: bytes, *, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
    ) -> Message:
        return live_message(await self._here().request(subject, data, timeout_s=timeout_s, headers=headers))

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", capacity: int = 4096
    ) -> AsyncIterator[Subscription]:
        live = LiveSubscription(subject, queue, capacity)
        self._live.append(live)
        try:
            await self._register(live)
            yield live
        finally:
            self._live.remove(live)
            live.end()
            if live.dropped:
                self._log.warning("messages dropped", subject=subject, dropped=live.dropped)

    async def serve(
        self,
        name: str,
        version: str,
        description: str,
        endpoints: Mapping[str, str],
        answer: Callable[[str, Message], Awaitable[bytes]],
    ) -> None:
        await nats_service.serve(self, self._clock, name, version, description, endpoints, answer)

    async def put(self, put: Put) -> int:
        return await jetstream.put(self._here(), put)

    async def put_batch(self, puts: Sequence[Put]) -> int:
        return await jetstream.put_batch(self._here(), puts, self._clock.identifier())

    async def get_last(self, stream: str, subject: str) -> Message | None:
        return await jetstream.get_last(self._here(), stream, subject)

    async def get_many(
        self, stream: str, subject: str, *, after: int = 0, since: datetime | None = None, limit: int = 1000
    ) -> list[Message]:
        return await jetstream.get_many(self._here(), stream, subject, after=after, since=since, limit=limit)

    async def get_at(self, stream: str, sequence: int) -> Message | None:
        return await jetstream.get_at(self._here(), stream, sequence)

    async def follow(self, stream: str, subject: str) -> AsyncGenerator[Message | CaughtUp, None]:
        follower = Follower(stream, subject, self._wait_link, self._clock)
        self._followers.append(follower)
        try:
            async with aclosing(follower.items()) as items:
                async for item in items:
                    yield item
        finally:
            self._followers.remove(follower)

    async def purge(self, stream: str, subject: str) -> int:
        count, removed, sequence = await jetstream.purge(self._here(), stream, subject)
        for follower in self._followers:
            if follower.stream == stream:
                for one in removed:
                    follower.removed(one, sequence)
        return count

    def _here(self) -> Link:
        if self._link is None or not self._link.alive:
            raise BusUnavailable("there is no connection to the bus")
        return self._link

    async def _wait_link(self) -> Link:
        while self._link is None or not self._link.alive:
            await self._next_change()
        return self._link

    async def _next_change(self) -> None:
        if self._closed:
            raise BusUnavailable("the bus was closed")
        await self._changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _register(self, live: LiveSubscription) -> None:
        """Until the server knows the subscription. Raises BusUnavailable, NotPermitted."""
        try:
            async with asyncio.timeout(_CONNECTED_TIMEOUT_S):
                while True:
                    link = await self._wait_link()
                    try:
                        live.attach(link.connection)
                        await link.connection.barrier()
                        break
                    except BusUnavailable:
                        if link.alive:
                            raise
        except TimeoutError as cause:
            raise BusUnavailable("there is no connection to the bus", where=live.subject) from cause
        if live.subject in link.connection.refused_subscriptions:
            raise NotPermitted("this credential may not subscribe there", where=live.subject)

    def _note_refused(self, subject: str) -> None:
        """A plain publish that was refused raises nothing: tell it once a subject."""
        if subject not in self._refused and len(self._refused) < _MOST_NOTED:
            self._refused.add(subject)
            self._log.warning("publish refused", subject=subject)

    async def _supervise(self) -> None:
        failures = 0
        for server in itertools.cycle(self._addresses):
            lived_s = await self._live_once(server, quiet=failures > 0)
            failures = 0 if lived_s >= _STEADY_S else failures + 1
            if failures:
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
                await self._clock.sleep(self._clock.jitter(pause_s))

    async def _live_once(self, server: BusAddress, *, quiet: bool) -> float:
        """One connection from its first byte to its end; for how long it was in use."""
        link: Link | None = None
        try:
            link = await self._opened(server)
            for live in self._live:
                live.attach(link.connection)
            await link.connection.barrier()
            began, self._server = self._clock.monotonic_s(), server
            self._adopt(link)
            link = await self._lasted(link)
            reason = link.connection.reason
            self._denied = is_denial(reason)
            self._log.warning("disconnected", server=str(server), reason=reason)
            return self._clock.monotonic_s() - began
        except FleetbusError as error:
            self._denied = is_denial(error.message)
            if not quiet:
                said = {"reason": error.message, "remedy": error.remedy, "code": error.error_code}
                known = {key: value for key, value in said.items() if value}
                self._log.warning("not connected", server=str(server), **known)
            return 0.0
        except Exception as error:  # The edge of the loop: a supervisor that ends would leave a dead bus.
            self._log.error("connection failed", server=str(server), error=type(error).__name__)
            return 0.0
        finally:
            left, self._link = {link, self._link}, None
            self._announce()
            for one in left:
                if one is not None:
                    await one.connection.close()

    async def _opened(self, server: BusAddress) -> Link:
        """A connection that is logged in. Raises BusUnavailable; then nothing is left open."""
        connection = Connection(alternatives=len(self._addresses) > 1)
        credential, name = self._credential, self._settings.name
        key = key_of_seed(credential.seed)
        trust = await asyncio.to_thread(self._settings.trust.context, credential.seed)
        proxy = self._settings.proxy_to(server)
        await connection.open(server, token=credential.token, key=key, trust=trust, name=name, proxy=proxy)
        inbox = f"{self._settings.inbox_prefix}.{self._clock.identifier()}"
        return Link(connection, inbox, self._note_refused)

    def _adopt(self, link: Link) -> None:
        self._link, self._count, self._denied = link, self._count + 1, False
        self._announce()
        self._log.info("connected", server=str(self._server), connection=self._count)

    async def _lasted(self, link: Link) -> Link:
        """Until the connection has ended, and that to which it was handed over; the last of them."""
        while True:
            await link.connection.ended.wait()
            if self._link is None or self._link is link:
                return link
            link = self._link


async def _settled(link: Link) -> None:
    """Until what was sent and asked on a connection that is about to be left is here, for a while at most."""
    try:
        async with asyncio.timeout(_SETTLE_TIMEOUT_S):
            await link.connection.barrier()
            await link.settled()
    except (TimeoutError, BusUnavailable):
        return


def is_denial(reason: str) -> bool:
    """Whether a server refuses, or has ended, a connection because of who it is."""
    return _DENIED.search(reason) is not None
