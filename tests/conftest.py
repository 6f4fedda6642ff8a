"""Real servers for tests: started once a session when first asked for, with factories for tests that break them.

A server that does not start fails the test that asked for it; nothing is skipped. Logs: `build/test-logs/`.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fleetbus.local.build import Binaries, kubernetes_binaries
from fleetbus.local.factories import BaoFactory, ControlPlaneFactory, NatsFactory
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.nats import NatsServer
from fleetbus.local.nodes import Nodes
from fleetbus.local.processes import Processes, together
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.certificates import Issued, issue_server, make_authority
from fleetbus.runtime.clock import SystemClock
from tests.blocking import blocking_is_an_error
from tests.waiting import wait_until

REGIONS = {"dev-eu": "eu-west-1", "staging-eu": "eu-central-1", "prod-us": "us-east-1"}


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """A call of a program's own code that would stop the event loop is an error where it is made."""
    with blocking_is_an_error():
        yield


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """One folder for the files of all servers of this session."""
    with tempfile.TemporaryDirectory(prefix="fleetbus-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def log_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Logs of this session's servers; those of the session before are gone, those of one beside it stay."""
    root = request.config.rootpath / "build" / "test-logs"
    root.mkdir(parents=True, exist_ok=True)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    for number in itertools.count(1):
        logs = root / (worker if number == 1 else f"{worker}-{number}")
        with logs.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(logs, ignore_errors=True)
            yield logs
            return


@pytest.fixture(scope="session")
async def processes(log_dir: Path) -> AsyncIterator[Processes]:
    async with Processes(log_dir) as group:
        yield group


@pytest.fixture(scope="session")
async def binaries() -> Binaries:
    return await kubernetes_binaries(lambda line: print(line, flush=True))


@pytest.fixture(scope="session")
def authority() -> Issued:
    """The CA of servers that are no cluster's."""
    return make_authority("fleetbus test authority", SystemClock().now())


@pytest.fixture(scope="session")
def server_certificate(authority: Issued) -> Issued:
    """For any server on loopback."""
    return issue_server(authority, "localhost", ["127.0.0.1", "localhost"], SystemClock().now())


@pytest.fixture(scope="session")
async def openbao(
    processes: Processes, server_dir: Path, authority: Issued, server_certificate: Issued
) -> AsyncIterator[OpenBao]:
    """One OpenBao for tests that leave it running; each makes its own paths and mounts."""
    certificate = authority.certificate
    async with OpenBao(processes, server_dir / "openbao", certificate, server_certificate) as server:
        yield server


@pytest.fixture(scope="session")
async def control_plane(
    processes: Processes, server_dir: Path, binaries: Binaries
) -> AsyncIterator[ControlPlane]:
    """One cluster with nodes on which pods run and Jobs complete, for tests that leave it running."""
    async with ControlPlane(
        processes, server_dir / "shared", binaries, "shared", nodes=Nodes(region="eu-west-1")
    ) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def control_planes(
    processes: Processes, server_dir: Path, binaries: Binaries
) -> AsyncIterator[dict[str, ControlPlane]]:
    """Three clusters by name, started together."""
    planes = [
        ControlPlane(processes, server_dir / name, binaries, name, nodes=Nodes(region=region))
        for name, region in REGIONS.items()
    ]
    async with together(*planes) as clusters:
        yield {cluster.name: cluster for cluster in clusters}


@pytest.fixture
async def namespace(control_plane: ControlPlane) -> AsyncIterator[str]:
    """A namespace of the shared cluster for this test alone, with its default ServiceAccount."""
    name = f"test-{SystemClock().identifier()}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await control_plane.admin.create("/api/v1/namespaces", body)
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    assert await wait_until(lambda: control_plane.admin.exists(account), SystemClock(), timeout_s=20)
    yield name
    await control_plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
async def nats_server(processes: Processes, server_dir: Path) -> AsyncIterator[NatsFactory]:
    """`await nats_server(config)`: a server of this test alone."""
    async with AsyncExitStack() as stack:

        async def start(config: str) -> NatsServer:
            name = f"nats-{SystemClock().identifier()}"
            return await stack.enter_async_context(
                NatsServer(processes, server_dir / name, config, name=name)
            )

        yield start


@pytest.fixture
async def new_openbao(
    processes: Processes, server_dir: Path, authority: Issued, server_certificate: Issued
) -> AsyncIterator[BaoFactory]:
    """`await new_openbao()`: an OpenBao of this test alone, to seal, kill and restart."""
    async with AsyncExitStack() as stack:

        async def start() -> OpenBao:
            name = f"openbao-{SystemClock().identifier()}"
            return await stack.enter_async_context(
                OpenBao(processes, server_dir / name, authority.certificate, server_certificate, name=name)
            )

        yield start


@pytest.fixture
async def new_control_plane(
    processes: Processes, server_dir: Path, binaries: Binaries
) -> AsyncIterator[ControlPlaneFactory]:
    """`await new_control_plane()`: a cluster without nodes of this test alone, to kill and restart."""
    async with AsyncExitStack() as stack:

        async def start() -> ControlPlane:
            name = f"own-{SystemClock().identifier()}"
            return await stack.enter_async_context(ControlPlane(processes, server_dir / name, binaries, name))

        yield start
