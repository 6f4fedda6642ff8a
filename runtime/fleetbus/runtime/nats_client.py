"""One connection to one NATS server: nats-py's client, hardened against hostile peers and silent ends.

What differs from nats-py 2.16 (its source was read for each):
- Whatever ends a connection (reader, flusher, pings, a refusal) sets `ended`; nobody reconnects in here.
- Messages go to routes, plain functions, so no task and no queue a subscription; malformed ones are delivered.
- PING is written in order with everything else, so `barrier` proves that the server has read all before it.
- Backpressure honours cancellation, and a PONG that nobody waits for any more does not end the reader.
- The server must speak TLS with a certificate of our authority, even when its greeting does not ask for it; plaintext
  is for addresses that say so, which only a fleet made with --insecure-dev has.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from nacl.signing import SigningKey

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.http_upgrade import HttpMalformed
from fleetbus.runtime.nats_lean import Client, Srv, errors
from fleetbus.runtime.nats_refusals import unavailable
from fleetbus.runtime.nats_transport import READ_BYTES, Dialled
from fleetbus.runtime.nats_wire import (
    Delivery,
    Parser,
    deliver,
    publish_command,
    subscribe_command,
)
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.bus_proxy import BusProxy
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed

Route = Callable[[Delivery], None]

PING_INTERVAL_S = 10
PINGS_OUTSTANDING = 2
CONNECT_TIMEOUT_S = 5
_PENDING_BYTES = 2 * 1024 * 1024
_FLUSH_TIMEOUT_S = 10.0
_REFUSAL_TIMEOUT_S = 1.0
_PING = b"PING\r\n"
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFUSED = re.compile(r'permissions violation for (publish|subscription) to "(.*?)"', re.IGNORECASE)


class Connection(Client):
    """A connection for its whole life: `open`, then `send` and routes, until `ended` is set; then `close`."""

    def __init__(self, *, alternatives: bool = False) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self.reason = ""
        self.refused_subscriptions: set[str] = set()
        self.on_refused_publish: Callable[[str], None] = lambda _: None
        self.on_ended: Callable[[], None] = lambda: None
        self._alternatives = alternatives
        self._routes: dict[int, Route] = {}
        self._dialled: Dialled | None = None
        self._ps = Parser(self)

    async def open(
        self,
        address: BusAddress,
        *,
        token: str,
        key: SigningKey,
        trust: ssl.SSLContext,
        name: str,
        proxy: BusProxy | None = None,
    ) -> None:
        """Connect and log in: `token` says who, `key` proves it. Raises BusUnavailable; then nothing is left open."""

        def sign(nonce: str) -> bytes:
            # The key signs what its owner says, too: a server that could choose the bytes could say it in his name.
            if not _NONCE.fullmatch(nonce):
                raise errors.Error("what the server wants to have signed is no nonce")
            return base64.b64encode(key.sign(nonce.encode()).signature)

        opened = False
        try:
            async with asyncio.timeout(3 * CONNECT_TIMEOUT_S):
                self._dialled = await Dialled.dial(address, trust, proxy, CONNECT_TIMEOUT_S)
                await self.connect(
                    [str(address)],
                    name=name,
                    tls=trust,
                    user_jwt_cb=lambda: bytearray(token.encode()),
                    signature_cb=sign,
                    error_cb=self._noted,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=PINGS_OUTSTANDING,
                    pending_size=_PENDING_BYTES,
                    flusher_queue_size=0,
                )
            opened = True
        except (errors.Error, OSError, TimeoutError, ValueError) as cause:
            said = await _said(cause, address, trust, proxy)
            raise unavailable(said, address, proxy) from cause
        finally:
            if not opened:
                await self.close()
        for task in self._tasks():
            task.add_done_callback(self._task_ended)

    async def close(self) -> None:
        """Write what is pending if that goes at once, then drop the socket. Never raises, ends in a second."""
        if not self.ended.is_set() and self._pending_data_size:
            try:
                async with asyncio.timeout(1):
                    await self._flushed()
            except (TimeoutError, errors.Error):
                pass
        self._end("closed")
        self._status = Client.CLOSED
        for task in self._tasks():
            task.cancel()
        if self._dialled is not None:
            self._dialled.abort()
        await asyncio.gather(*self._tasks(), return_exceptions=True)

    def open_route(self, subject: str, route: Route, *, queue: str = "") -> int:
        """Subscribe; each message is given to `route`, which must not raise. `barrier` awaits the server."""
        self._sid += 1
        self._write(subscribe_command(subject, queue, self._sid))
        self._routes[self._sid] = route
        return self._sid

    def close_route(self, route: int) -> None:
        """Unsubscribe. Nothing when the connection has ended."""
        if self._routes.pop(route, None) is not None and not self.ended.is_set():
            self._write(f"UNSUB {route} \r\n".encode())

    async def send(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish. Raises BusUnavailable when the connection has ended or the server does not take it."""
        if len(data) > self._max_payload:
            raise MessageMalformed(f"{len(data)} bytes are more than a message may hold", where=subject)
        self._write(publish_command(subject, reply, data, headers))
        if self._pending_data_size > _PENDING_BYTES:
            try:
                async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                    await self._flushed()
            except TimeoutError as cause:
                raise BusUnavailable("the server does not take what is published", where=subject) from cause

    def post(self, subject: str) -> None:
        """An empty message, without waiting and without an answer; nothing when the connection has ended."""
        if not self.ended.is_set():
            self._write(publish_command(subject, "", b"", None))

    async def barrier(self, timeout_s: float = 5.0) -> None:
        """Until the server has read everything written so far. Raises BusUnavailable."""
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._send_ping(pong)
        try:
            async with asyncio.timeout(timeout_s):
                alive = await pong
        except TimeoutError as cause:
            raise BusUnavailable("the server does not answer") from cause
        if not alive:
            raise BusUnavailable(f"the connection ended: {self.reason}")

    def _write(self, command: bytes) -> None:
        if self.ended.is_set():
            raise BusUnavailable(f"the connection ended: {self.reason}")
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._kick()

    def _kick(self) -> None:
        # One waiting entry is enough: the flusher writes everything pending when it takes it.
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _flushed(self) -> None:
        assert self._flush_queue is not None
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._flush_queue.put_nowait(done)
        ending = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait((done, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()

    def _end(self, reason: str) -> None:
        if self.ended.is_set():
            return
        self.reason = reason
        self._status = Client.DISCONNECTED
        self.ended.set()
        for pong in self._pongs:
            if not pong.done():
                pong.set_result(False)
        self._pongs = []
        self._routes.clear()
        self.on_ended()

    def _tasks(self) -> list[asyncio.Task[Any]]:
        tasks = (self._reading_task, self._ping_interval_task, self._flusher_task)
        return [task for task in tasks if task is not None]

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        self._end(str(error) if error else "a task of the connection ended")

    async def _noted(self, error: Exception) -> None:
        """Errors reach the supervisor by `ended` and by what `open` raises."""

    @property
    def server_name(self) -> str:
        """As the server called itself when it greeted; empty before."""
        return cleaned(str(self._server_info.get("server_name") or ""))

    # What nats-py calls.

    async def _select_next_server(self) -> None:
        server: Srv = self._server_pool[0]
        self._transport = self._dialled
        self._current_server = server

    def _connect_command(self) -> bytes:
        # A man in the middle could greet without `tls_required`, and nats-py would go on in the clear.
        dialled = self._dialled
        if dialled is None or (dialled.address.encrypted and not dialled.encrypted):
            raise errors.Error("the server offers no TLS")
        return super()._connect_command()

    async def _read_loop(self) -> None:
        assert self._transport is not None
        try:
            while not self.ended.is_set():
                received = await self._transport.read(READ_BYTES)
                if not received:
                    return self._end("the server closed the connection")
                await self._ps.parse(received)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # The edge of the loop: a reader that ends must never end in silence.
            self._end(str(error) or type(error).__name__)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        route = self._routes.get(sid)
        if route is not None:
            route(deliver(subject, reply, data, headers))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if info.get("ldm") and not initial_connection and self._alternatives:
            self._end("the server is about to stop")

    async def _process_err(self, err_msg: str) -> None:
        refused = _REFUSED.search(err_msg)
        if refused is None:
            self._end(err_msg)
        elif refused[1].lower() == "publish":
            self.on_refused_publish(refused[2])
        else:
            self.refused_subscriptions.add(refused[2])

    async def _process_op_err(self, e: Exception) -> None:
        self._end(str(e) or type(e).__name__)

    async def _process_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():
                pong.set_result(True)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._write(_PING)

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self._write(cmd)

    async def _flush_pending(self, force_flush: bool = False) -> None:
        self._kick()


async def _said(
    cause: BaseException, address: BusAddress, trust: ssl.SSLContext, proxy: BusProxy | None
) -> BaseException:
    """Why it really ended, where the server has closed an encrypted connection at its beginning without a word."""
    ended = isinstance(cause, ConnectionResetError | BrokenPipeError | HttpMalformed)
    if not address.encrypted or not ended:
        return cause
    return await Dialled.refusal(address, trust, proxy, _REFUSAL_TIMEOUT_S) or cause
