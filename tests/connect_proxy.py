"""An HTTP CONNECT proxy on loopback, which can be told to misbehave."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from fleetbus.local.ports import free_port


@dataclass
class ConnectProxy:
    """`login`: who may use it, '' for anybody. `answer`: given instead of a tunnel; b'' hangs up, None is a tunnel.

    `silent`: it takes connections and says nothing. `asked`: the targets, in order.
    """

    port: int
    scheme: str = "http"
    login: str = ""
    answer: bytes | None = None
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"{self.scheme}://{login}127.0.0.1:{self.port}"

    async def start(self, trust: ssl.SSLContext | None = None) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=trust)

    async def stop(self) -> None:
        """With every tunnel."""
        if self.server is not None:
            self.server.close()
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self.writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *headers = head.split("\r\n")
        method, target, _ = first.split(" ")
        self.asked.append(target)
        if self.silent:
            await reader.read()
            return
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(self.login.encode()).decode()}"
        answer = self.answer
        if self.login and wanted not in headers:
            answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
        if answer is not None or method != "CONNECT":
            writer.write(answer or b"")
            await writer.drain()
            return
        host, _, port = target.rpartition(":")
        there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        self.writers.add(back)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
        await asyncio.wait(
            [asyncio.ensure_future(_pump(reader, back)), asyncio.ensure_future(_pump(there, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        self.writers.discard(back)
        back.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def connect_proxy(login: str = "", trust: ssl.SSLContext | None = None) -> AsyncIterator[ConnectProxy]:
    """Running; with `trust`, a server's context, it is an https:// proxy."""
    proxy = ConnectProxy(free_port(), "https" if trust else "http", login)
    await proxy.start(trust)
    try:
        yield proxy
    finally:
        await proxy.stop()
