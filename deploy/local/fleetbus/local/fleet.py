"""A whole fleet on loopback: NATS, OpenBao, control planes, the controller, an agent a cluster.

Everything that can starts at the same time; everything ends when the context is left, and with the process
also on kill -9.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from fleetbus.client import Context, Fleet, connect
from fleetbus.local import founding
from fleetbus.local.build import kubernetes_binaries, kubernetes_version
from fleetbus.local.files import write_whole
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.members import DEFAULT, members
from fleetbus.local.nats import NatsServer
from fleetbus.local.nodes import Nodes
from fleetbus.local.processes import Process, Processes, together
from fleetbus.local.record import Record, Running
from fleetbus.local.shells import link_programs, write_kubeconfig
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.certificates import Issued, issue_server, make_authority
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.failures import known_leaf
from fleetbus.schemas.errors import FleetbusError, ServerFailed, TimeoutExpired, Transient

T = TypeVar("T")
Progress = Callable[[str], None]

_READY_TIMEOUT_S = 120.0
_REVIVE_AFTER_S = 1.0
_LOOK_EVERY_S = 0.2
_CONTROL_PLANE = ("etcd", "apiserver", "controller-manager", "scheduler", "kwok")


class LocalFleet:
    """A fleet for the length of a context; entered, every cluster is registered and Ready.

    `dir` keeps everything: another start in the same folder is the same fleet. `progress` is given a line for
    each thing that has started, with the time that it took.
    """

    def __init__(
        self, dir: Path, clusters: Sequence[str] = DEFAULT, *, progress: Progress = lambda line: None
    ) -> None:
        self.dir = dir.absolute()
        self.members = members(clusters)
        self.processes = Processes(self.dir / "logs")
        self.clusters: dict[str, ControlPlane] = {}
        self.agents: dict[str, Process] = {}
        self.nats = NatsServer(self.processes, self.folder / "nats", founding.BUS_CONFIGURATION)
        self.started_at = SystemClock().now()
        self._vault: OpenBao | None = None
        self._controller: Process | None = None
        self._progress = progress
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            self.started_at = SystemClock().now()
            await opening.enter_async_context(self.processes)
            try:
                await self._start(opening)
            except ExceptionGroup as failures:
                if (known := known_leaf(failures)) is None:
                    raise
                raise known from failures
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def folder(self) -> Path:
        """What `fleetbus init` has made."""
        return self.dir / "fleet"

    @property
    def vault(self) -> OpenBao:
        return _started(self._vault, "OpenBao")

    @property
    def controller(self) -> Process:
        return _started(self._controller, "the controller")

    def context(self, user: str = founding.OPERATOR) -> Context:
        """How an operator (`admin`) or a subscriber (`events`) reaches this fleet."""
        return founding.context(self.folder, user)

    def connect(self, user: str = founding.OPERATOR) -> AbstractAsyncContextManager[Fleet]:
        """The fleet as an operator or subscriber has it."""
        return connect(self.context(user))

    def variables(self) -> dict[str, str]:
        """For a shell; `VAULT_TOKEN_FILE` names the file of the owner's token, PATH is only what comes before."""
        return {
            "FLEETBUS_CONFIG": str(self.dir / "config.yaml"),
            "FLEETBUS_FLEET_DIR": str(self.dir / "fleet"),
            "FLEETBUS_CONTEXT": founding.FLEET,
            "KUBECONFIG": str(self.dir / "kubeconfig"),
            "NATS_URL": self.nats.url,
            "NATS_CREDS": str(founding.credential_of(self.folder, founding.SUBSCRIBER)),
            "NATS_CA": str(self.folder / "ca.crt"),
            "VAULT_ADDR": self.vault.address,
            "VAULT_CACERT": str(self.vault.ca_file),
            "VAULT_TOKEN_FILE": str(self.vault.dir / "root-token"),
            "PATH": str(self.dir / "bin"),
        }

    def shell_variables(self) -> dict[str, str]:
        """The same with the token itself."""
        found = self.variables()
        del found["VAULT_TOKEN_FILE"]
        return found | {"VAULT_TOKEN": self.vault.root_token}

    def record(self) -> Record:
        """What runs now."""
        return Record(
            clusters=tuple(self.clusters),
            environment=self.variables(),
            processes=tuple(
                Running(process.name, process.pid, self._port(process), str(process.log))
                for process, _ in self._all()
            ),
        )

    async def keep(self) -> NoReturn:
        """Start again what ends unasked, as a machine's init or a kubelet does; until cancelled."""
        clock = SystemClock()
        while True:
            for process, revive in self._all():
                if process.ended_unasked():
                    self._progress(f"{process.name} has ended and is started again")
                    await clock.sleep(_REVIVE_AFTER_S)
                    await _retried(revive)
            await clock.sleep(_LOOK_EVERY_S)

    async def start_controller(self, name: str) -> Process:
        """One more controller, with a folder of its own for what it caches."""
        settings = json.loads((self.folder / "controller.json").read_text())
        config = self.folder / f"{name}.json"
        write_whole(config, json.dumps(settings | {"workDir": f"work-{name}"}))
        return await self._run(name, "fleetbus.controller", "--config", config)

    async def start_agent(self, cluster: str, name: str) -> Process:
        """One more agent of a cluster, from the same folder."""
        return await self._run(name, "fleetbus.agent", "--folder", self.dir / "agents" / cluster)

    async def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Until every cluster is Ready. Raises TimeoutExpired with what each is instead."""
        clock = SystemClock()
        end = clock.monotonic_s() + timeout_s
        seen: Mapping[str, str] = {}
        while clock.monotonic_s() < end:
            try:
                async with asyncio.timeout(5), self.connect() as fleet:
                    rows = (await fleet.list("Cluster")).rows
                seen = {row.document["metadata"]["name"]: _ready(row.document) for row in rows}
            except (Transient, TimeoutError):
                seen = {}
            if all(seen.get(one.name) == "True" for one in self.members):
                return
            await clock.sleep(_LOOK_EVERY_S)
        told = ", ".join(f"{one.name} {seen.get(one.name, 'unknown')}" for one in self.members)
        raise TimeoutExpired(
            f"not every cluster was Ready after {timeout_s:g} s: {told}", remedy=f"read {self.controller.log}"
        )

    async def _start(self, stack: AsyncExitStack) -> None:
        await self._start_servers(stack)
        stack.push_async_callback(self._stop_programs)
        with self._timed("the fleet's streams and policies"):
            await founding.finish(self.folder, self.vault)
        founding.write_context(self.dir / "config.yaml", self.folder)
        write_kubeconfig(self.dir / "kubeconfig", self.clusters.values())
        link_programs(self.dir / "bin")
        self._controller = await self._run(
            "controller", "fleetbus.controller", "--config", self.folder / "controller.json"
        )
        async with asyncio.TaskGroup() as joining:
            for member in self.members:
                joining.create_task(self._join(member.name, stack))
        with self._timed("every cluster is Ready"):
            await self.wait_ready()

    async def _start_servers(self, stack: AsyncExitStack) -> None:
        binaries = await kubernetes_binaries(self._progress)
        await founding.found(self.folder, self.nats.reserve())
        authority, certificate = await asyncio.to_thread(_vault_certificates, self.dir / "openbao")
        self._vault = OpenBao(self.processes, self.dir / "openbao", authority, certificate)
        planes = [
            ControlPlane(
                self.processes,
                self.dir / "clusters" / one.name,
                binaries,
                one.name,
                nodes=Nodes(region=one.region),
            )
            for one in self.members
        ]
        version = kubernetes_version()
        servers: list[AbstractAsyncContextManager[Any]] = [
            self._told("NATS", self.nats),
            self._told("OpenBao", self._vault),
            *(self._told(f"Kubernetes {version} of {plane.name}", plane) for plane in planes),
        ]
        await stack.enter_async_context(together(*servers))
        self.clusters = {plane.name: plane for plane in planes}

    async def _stop_programs(self) -> None:
        """Before the servers: an apiserver waits long for the watches of agents."""
        programs = [*self.agents.values(), *([self._controller] if self._controller else [])]
        await asyncio.gather(*(program.stop(5) for program in programs))

    async def _join(self, name: str, stack: AsyncExitStack) -> None:
        """A token in the cluster, the agent's folder and its process; then Vault's part."""
        member = next(one for one in self.members if one.name == name)
        cluster = self.clusters[name]
        with self._timed(f"{name} has joined"):
            joined = await founding.is_member(cluster.kubeconfig)
            uid = (
                ""
                if joined
                else await self._answered(
                    lambda fleet: founding.join_member(member, self.folder, cluster, fleet)
                )
            )
            await stack.enter_async_context(AgentFolder(cluster, self.dir / "agents" / name))
            self.agents[name] = await self.start_agent(name, f"{name}-agent")
            await self._answered(
                lambda fleet: founding.finish_member(name, uid, self.vault, fleet, _READY_TIMEOUT_S)
            )

    async def _answered(self, ask: Callable[[Fleet], Awaitable[T]]) -> T:
        """Ask the controller, which may still be starting."""
        clock = SystemClock()
        end = clock.monotonic_s() + _READY_TIMEOUT_S
        while True:
            try:
                async with self.connect() as fleet:
                    return await ask(fleet)
            except Transient:
                if clock.monotonic_s() > end or not self.controller.alive:
                    raise
            await clock.sleep(_LOOK_EVERY_S)

    async def _run(self, name: str, module: str, *words: str | Path) -> Process:
        """A program of ours, with the environment that it has in a container: PATH and nothing private."""
        path = f"{self.dir / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return await self.processes.start(
            name, [sys.executable, "-m", module, *words], env={"PATH": path}, cwd=self.dir
        )

    def _all(self) -> list[tuple[Process, Callable[[], Awaitable[None]]]]:
        """Every process with what starts it again."""
        found: list[tuple[Process, Callable[[], Awaitable[None]]]] = [
            (self.nats.process, self.nats.start),
            (self.vault.process, self.vault.start),
        ]
        for cluster in self.clusters.values():
            for name in _CONTROL_PLANE:
                process = cluster.process(name)
                found.append((process, cluster.start_apiserver if name == "apiserver" else process.start))
        found.append((self.controller, self.controller.start))
        found += [(agent, agent.start) for agent in self.agents.values()]
        return found

    def _port(self, process: Process) -> int:
        ports = {self.nats.process.name: self.nats.port, self.vault.process.name: self.vault.port}
        for name, cluster in self.clusters.items():
            ports[f"{name}-apiserver"] = int(cluster.server.rpartition(":")[2])
            ports[f"{name}-etcd"] = int((cluster.dir / "ports" / "etcd").read_text())
        return ports.get(process.name, 0)

    @asynccontextmanager
    async def _told(self, what: str, server: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """The server; its start is told of."""
        async with AsyncExitStack() as stack:
            with self._timed(what):
                value = await stack.enter_async_context(server)
            yield value

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        clock = SystemClock()
        began = clock.monotonic_s()
        yield
        self._progress(f"{what:<44} {clock.monotonic_s() - began:5.1f} s")


def _vault_certificates(folder: Path) -> tuple[bytes, Issued]:
    """The authority that agents trust stays the same in a folder; the server's certificate is made afresh."""
    now = SystemClock().now()
    certificate, key = folder / "authority.crt", folder / "authority.key"
    if not key.exists():
        made = make_authority("fleetbus local OpenBao", now)
        write_whole(certificate, made.certificate)
        write_whole(key, made.key, secret=True)
    authority = Issued(certificate.read_bytes(), key.read_bytes())
    return authority.certificate, issue_server(authority, "localhost", ["127.0.0.1", "localhost"], now)


async def _retried(start: Callable[[], Awaitable[None]]) -> None:
    """Start it, and once more when it does not come up; what keeps failing is seen at the next look."""
    with suppress(FleetbusError):
        await start()


def _started(value: T | None, what: str) -> T:
    if value is None:
        raise ServerFailed(f"{what} was never started")
    return value


def _ready(document: Mapping[str, Any]) -> str:
    """`True`, or the status of Ready with its reason."""
    conditions = (document.get("status") or {}).get("conditions") or []
    ready = next((one for one in conditions if one["type"] == "Ready"), None)
    if ready is None:
        return "not looked at yet"
    return "True" if ready["status"] == "True" else f"{ready['status']} ({ready['reason']})"
