"""A real Kubernetes control plane on loopback: etcd, apiserver, controller-manager; kwok and scheduler for nodes.

RBAC and ServiceAccount admission are on, TLS is verified on every connection, and each cluster has a key
pair of its own for ServiceAccount tokens.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetbus.local.admin import Admin
from fleetbus.local.build import Binaries
from fleetbus.local.nodes import Nodes, create_nodes
from fleetbus.local.pki import Pki, make_pki, write_kubeconfig
from fleetbus.local.ports import kept_port
from fleetbus.local.processes import Process, Processes
from fleetbus.schemas.errors import KubeUnavailable, ServerFailed

ISSUER = "https://kubernetes.default.svc.cluster.local"

# Controllers that only clouds, volumes and real nodes need; each costs memory and watches.
_WITHOUT_CONTROLLERS = (
    "cloud-node-lifecycle-controller",
    "device-taint-eviction-controller",
    "ephemeral-volume-controller",
    "horizontal-pod-autoscaler-controller",
    "node-ipam-controller",
    "node-route-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "service-lb-controller",
)


@dataclass(slots=True)
class _Ports:
    etcd: int = 0
    etcd_peer: int = 0
    apiserver: int = 0


@dataclass(frozen=True, slots=True)
class _Command:
    """One server of the control plane: what it is called in logs and how it is started."""

    name: str
    argv: list[str | Path]
    env: dict[str, str] = field(default_factory=dict)


class ControlPlane:
    """One cluster for the length of a context; ready means that Pods and Jobs can be made in `default`.

    `dir` keeps keys, ports and etcd's data, so that another start in the same folder is the same cluster.
    With `nodes` kwok and the scheduler run too and pods start, and end as `stages.yaml` says.
    """

    def __init__(
        self,
        processes: Processes,
        dir: Path,
        binaries: Binaries,
        name: str,
        *,
        nodes: Nodes | None = None,
    ) -> None:
        self.dir = dir
        self.name = name
        self.nodes = nodes
        self._processes = processes
        self._binaries = binaries
        self._ports = _Ports()
        self._pki: Pki | None = None
        self._admin: Admin | None = None
        self._running: dict[str, Process] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def server(self) -> str:
        """The apiserver's address."""
        return f"https://127.0.0.1:{self._ports.apiserver}"

    @property
    def ca_file(self) -> Path:
        return self.pki.authority

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig, mode 0600; its one context is named like the cluster."""
        return self.dir / "admin.kubeconfig"

    @property
    def pki(self) -> Pki:
        if self._pki is None:
            raise ServerFailed(f"the control plane {self.name} was never started")
        return self._pki

    @property
    def admin(self) -> Admin:
        """REST with the admin's client certificate."""
        if self._admin is None:
            raise ServerFailed(f"the control plane {self.name} was never started")
        return self._admin

    @property
    def etcd_dir(self) -> Path:
        """Where the cluster's objects, also its Secrets, lie on disk."""
        return self.dir / "etcd"

    def process(self, server: str) -> Process:
        """One of etcd, apiserver, controller-manager, scheduler, kwok."""
        if server not in self._running:
            raise ServerFailed(f"the control plane {self.name} runs no {server}")
        return self._running[server]

    async def kill_apiserver(self) -> None:
        """kill -9; etcd and the controllers stay."""
        await self.process("apiserver").kill()

    async def start_apiserver(self) -> None:
        """Start the apiserver again, and what has given up without it."""
        apiserver = self.process("apiserver")
        await apiserver.start()
        await apiserver.wait_ready(self.admin.ready)
        for server in self._running.values():
            await server.start()

    async def _start(self) -> None:
        self._ports = _Ports(*(kept_port(self.dir / "ports" / name) for name in _Ports.__slots__))
        self._pki = await asyncio.to_thread(make_pki, self.dir / "pki", self.name)
        for client in ("admin", "controller-manager", "scheduler", "kwok"):
            write_kubeconfig(self._kubeconfig(client), self._pki, client, self.name, self.server)
        self._admin = await self._open.enter_async_context(Admin(self.server, self._pki))
        await self._run(self._etcd())
        apiserver = await self._run(self._apiserver())
        await apiserver.wait_ready(self._admin.ready, timeout_s=120)
        controller_manager = await self._run(self._controller_manager())
        if self.nodes is not None:
            scheduler = await self._run(self._scheduler())
            kwok = await self._run(self._kwok())
            await create_nodes(self._admin, self.nodes)
            await kwok.wait_ready(self._nodes_ready, timeout_s=60)
            await scheduler.wait_ready(self._schedules, timeout_s=60)
        await controller_manager.wait_ready(self._has_accounts, timeout_s=60)

    async def _run(self, command: _Command) -> Process:
        name = f"{self.name}-{command.name}"
        process = await self._processes.start(name, command.argv, env=command.env, cwd=self.dir)
        self._running[command.name] = process
        return process

    async def _stop(self) -> None:
        clients = [process for name, process in self._running.items() if name not in ("apiserver", "etcd")]
        await asyncio.gather(*(process.stop(5) for process in clients))
        # Not in parallel: an apiserver without etcd waits for it before it ends.
        for name in ("apiserver", "etcd"):
            if name in self._running:
                await self._running[name].stop(10)
        self._running.clear()
        await self._open.aclose()

    async def _has_accounts(self) -> bool:
        """The controllers work once `default` has what every pod needs."""
        wanted = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
        try:
            found = [await self.admin.exists(f"/api/v1/namespaces/default/{path}") for path in wanted]
        except KubeUnavailable:
            return False
        return all(found)

    async def _nodes_ready(self) -> bool:
        nodes = await self.admin.get("/api/v1/nodes")
        return all(
            any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"].get("conditions", [])
            )
            for node in nodes["items"]
        )

    async def _schedules(self) -> bool:
        """A node is free of the taint that it carries until the node controller has seen it ready."""
        nodes = await self.admin.get("/api/v1/nodes")
        return all(not node["spec"].get("taints") for node in nodes["items"])

    def _kubeconfig(self, client: str) -> Path:
        return self.dir / f"{client}.kubeconfig"

    def _etcd(self) -> _Command:
        pki, client = self.pki, f"https://127.0.0.1:{self._ports.etcd}"
        peer = f"https://127.0.0.1:{self._ports.etcd_peer}"
        certificate, key, authority = pki.certificate("etcd"), pki.key("etcd"), pki.certificate("etcd-ca")
        argv: list[str | Path] = [
            self._binaries.etcd,
            f"--name={self.name}",
            f"--data-dir={self.etcd_dir}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.name}={peer}",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            f"--trusted-ca-file={authority}",
            "--client-cert-auth",
            f"--peer-cert-file={certificate}",
            f"--peer-key-file={key}",
            f"--peer-trusted-ca-file={authority}",
            "--peer-client-cert-auth",
            # Data that outlives a power cut is not what a local cluster is for.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        return _Command("etcd", argv)

    def _apiserver(self) -> _Command:
        pki = self.pki
        argv: list[str | Path] = [
            self._binaries.kube_apiserver,
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports.apiserver}",
            # Endpoints refuse a loopback address.
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki.certificate('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            f"--client-ca-file={pki.authority}",
            f"--etcd-servers=https://127.0.0.1:{self._ports.etcd}",
            f"--etcd-cafile={pki.certificate('etcd-ca')}",
            f"--etcd-certfile={pki.certificate('apiserver-etcd')}",
            f"--etcd-keyfile={pki.key('apiserver-etcd')}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--api-audiences={ISSUER}",
            f"--service-account-key-file={pki.dir / 'sa.pub'}",
            f"--service-account-signing-key-file={pki.key('sa')}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
        ]
        return _Command("apiserver", argv, {"GOGC": "60"})

    def _controller_manager(self) -> _Command:
        without = ",".join(f"-{name}" for name in _WITHOUT_CONTROLLERS)
        argv: list[str | Path] = [
            self._binaries.kube_controller_manager,
            f"--kubeconfig={self._kubeconfig('controller-manager')}",
            f"--controllers=*,{without}",
            f"--root-ca-file={self.pki.authority}",
            f"--service-account-private-key-file={self.pki.key('sa')}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
        ]
        return _Command("controller-manager", argv, {"GOGC": "60"})

    def _scheduler(self) -> _Command:
        argv: list[str | Path] = [
            self._binaries.kube_scheduler,
            f"--kubeconfig={self._kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
        ]
        return _Command("scheduler", argv, {"GOGC": "60"})

    def _kwok(self) -> _Command:
        argv: list[str | Path] = [
            self._binaries.kwok,
            f"--kubeconfig={self._kubeconfig('kwok')}",
            f"--config={Path(__file__).with_name('stages.yaml')}",
            "--manage-all-nodes=true",
            "--node-ip=127.0.0.1",
            "--node-lease-duration-seconds=40",
        ]
        return _Command("kwok", argv, {"GOGC": "60"})
