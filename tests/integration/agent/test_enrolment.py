"""The agent as a process becomes a member by a token, and stays one: on a real server, apiserver and controller."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetbus.agent.enrol import joined_values
from fleetbus.agent.manifests import manifests
from fleetbus.cli.ceremony.record import Mtls
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.processes import Processes
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.enrolment import JoinToken
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import key_of_seed, public_key, seed_of
from tests.bus_server import FleetServer, fleet_server
from tests.connect_proxy import connect_proxy
from tests.integration.agent.test_agent_process import eventually
from tests.integration.controller.enrolling import Candidate, admitted_token
from tests.integration.controller.people import Operator, controlling, events

CLOCK = SystemClock()
SECRET = "/api/v1/namespaces/fleetbus-system/secrets/fleetbus-agent"
SHORT_S = 8.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cluster with the agent's objects and no membership, a bus, and the folder that the agent's pod would find."""

    cluster: ControlPlane
    server: FleetServer
    owner: KubeClient
    folder: Path

    async def hand_over(self, values: Mapping[str, str]) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "fleetbus-agent", "namespace": "fleetbus-system"},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        resource = await self.owner.resource("v1", "Secret")
        await self.owner.apply(
            resource, "fleetbus-system", "fleetbus-agent", body, field_manager="join", force=True
        )

    async def secret(self) -> dict[str, str]:
        data = (await self.cluster.admin.get(SECRET))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        async with self.server.bus("operator") as bus:
            operator = Operator(bus, self.server.credentials["operator"])
            await operator.wait_answered()
            yield operator

    async def renewed_after(self, seconds: float) -> bool:
        return read((await self.secret())["jwt"]).issued_at >= seconds

    async def is_without_token(self) -> bool:
        return "token" not in await self.secret()

    async def connected(self, operator: Operator, name: str = "new") -> bool:
        rows = (await operator.ask("list", {"kind": "Cluster"}))["rows"]
        return any(
            row["document"]["metadata"]["name"] == name and row["live"].get("connected") for row in rows
        )


@pytest.fixture
async def prepared(
    new_control_plane: ControlPlaneFactory,
    processes: Processes,
    server_dir: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Prepared]:
    """Its parameter: whether the bus wants certificates of clients."""
    cluster = await new_control_plane()
    mtls: Mtls = getattr(request, "param", "off")
    async with (
        fleet_server(processes, server_dir, f"bus-{CLOCK.identifier()}", mtls=mtls) as server,
        KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), CLOCK) as owner,
    ):
        for one in manifests("standard"):
            resource, metadata = await owner.resource(one["apiVersion"], one["kind"]), one["metadata"]
            place = metadata.get("namespace", "")
            await owner.apply(resource, place, metadata["name"], one, field_manager="test", force=True)
        async with AgentFolder(cluster, tmp_path / "agent") as folder:
            yield Prepared(cluster, server, owner, folder.dir)


@asynccontextmanager
async def running(prepared: Prepared, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent's process, ended cleanly."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fleetbus.agent", "--folder", str(prepared.folder), stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(15):
            await process.wait()


async def test_it_enrols_renews_and_comes_back_after_its_credential_has_lapsed(
    prepared: Prepared, tmp_path: Path
) -> None:
    server, log = prepared.server, tmp_path / "agent.log"
    async with running_with_token(prepared, tmp_path, log) as handed:
        async with controlling(server, tmp_path, lifetime_s=SHORT_S), prepared.operator() as operator:
            await eventually(lambda: prepared.connected(operator))
            kept = await prepared.secret()
            assert not {"token", "next-seed", "next-for"} & kept.keys()
            assert kept["seed"] != handed.seed
            row = (await operator.ask("list", {"kind": "Cluster", "names": ["new"]}))["rows"][0]
            spec = row["document"]["spec"]
            home = await prepared.cluster.admin.get("/api/v1/namespaces/kube-system")
            assert spec["key"] == public_key(key_of_seed(kept["seed"]))
            assert spec["uid"] == home["metadata"]["uid"]
            record = (await operator.ask("enrolments", {"name": "new"}))["rows"][0]
            assert record["serviceAccountKeys"]
            assert record["issuer"]
            first = read(kept["jwt"]).issued_at
            await eventually(lambda: prepared.renewed_after(first + SHORT_S))
            assert await prepared.connected(operator)
        # Nobody answers for longer than the credential lives.
        last = await prepared.secret()
        ends = read(last["jwt"]).expires_at

        async def has_lapsed() -> bool:
            return CLOCK.now().timestamp() > ends + 2

        await eventually(has_lapsed)
        assert (await prepared.secret())["jwt"] == last["jwt"]
        async with controlling(server, tmp_path, "two", ["one"]), prepared.operator() as operator:
            await eventually(lambda: prepared.renewed_after(ends))
            await eventually(lambda: prepared.connected(operator))
            # The same manifest applied once more changes nothing.
            await prepared.hand_over({"token": handed.text()})
            await eventually(prepared.is_without_token)
            assert (await prepared.secret())["seed"] == kept["seed"]
    seeds = [handed.seed, kept["seed"], handed.jwt, kept["jwt"], kept["renewer-jwt"]]
    assert not [one for one in seeds if one in log.read_text()]


async def told(prepared: Prepared) -> list[CloudEvent]:
    async with prepared.server.bus("controller") as bus:
        return await events(bus)


@asynccontextmanager
async def running_with_token(prepared: Prepared, tmp_path: Path, log: Path) -> AsyncIterator[JoinToken]:
    """The agent, started while no controller answers any more."""
    async with controlling(prepared.server, tmp_path, lifetime_s=SHORT_S), prepared.operator() as operator:
        handed = (await admitted_token(prepared.server, operator, "new")).join_token()
    await prepared.hand_over({"token": handed.text()})
    async with running(prepared, log):
        yield handed


@pytest.mark.parametrize("prepared", ["required"], indirect=True)
async def test_where_servers_want_certificates_it_enrols_renews_and_comes_back(
    prepared: Prepared, tmp_path: Path
) -> None:
    server, log = prepared.server, tmp_path / "agent.log"
    async with running_with_token(prepared, tmp_path, log):
        async with controlling(server, tmp_path, lifetime_s=SHORT_S), prepared.operator() as operator:
            await eventually(lambda: prepared.connected(operator))
            first = await prepared.secret()
            await eventually(lambda: prepared.renewed_after(read(first["jwt"]).issued_at + SHORT_S / 2))
            assert (await prepared.secret())["bus-certificate"] != first["bus-certificate"]
            await server.server.restart()
            last = read((await prepared.secret())["jwt"])
        # Nobody answers for longer than its user lives: the one that only renews shows the same certificate.

        async def has_lapsed() -> bool:
            return CLOCK.now().timestamp() > last.expires_at + SHORT_S

        await eventually(has_lapsed)
        async with controlling(server, tmp_path, "two", ["one"]), prepared.operator() as operator:
            await eventually(lambda: prepared.renewed_after(last.expires_at))
            await eventually(lambda: prepared.connected(operator))


async def test_behind_a_proxy_it_enrols_works_and_renews_through_it(
    prepared: Prepared, tmp_path: Path
) -> None:
    log = tmp_path / "agent.log"
    async with (
        connect_proxy("ana:hunter2") as proxy,
        controlling(prepared.server, tmp_path, lifetime_s=SHORT_S),
        prepared.operator() as operator,
    ):
        handed = (await admitted_token(prepared.server, operator, "new")).join_token()
        await prepared.hand_over({"token": handed.text(), "bus-proxy": proxy.url})
        async with running(prepared, log):
            await eventually(lambda: prepared.connected(operator))
            first = read((await prepared.secret())["jwt"]).issued_at
            await eventually(lambda: prepared.renewed_after(first + SHORT_S / 2))
            kept = await prepared.secret()
    assert kept["bus-proxy"] == proxy.url
    assert len(proxy.asked) >= 3
    assert "hunter2" not in log.read_text()


async def test_killed_at_any_moment_it_enrols_with_one_key(prepared: Prepared, tmp_path: Path) -> None:
    async with controlling(prepared.server, tmp_path), prepared.operator() as operator:
        handed = (await admitted_token(prepared.server, operator, "new")).join_token()
        await prepared.hand_over({"token": handed.text()})
        seeds: set[str] = set()
        for pause_s in (0.3, 0.6, 0.9, 1.2):
            async with running(prepared, tmp_path / "agent.log") as process:
                await CLOCK.sleep(pause_s)
                process.kill()
            kept = await prepared.secret()
            seeds |= {kept.get("next-seed") or kept.get("seed") or ""} - {""}
        async with running(prepared, tmp_path / "agent.log"):
            await eventually(lambda: prepared.connected(operator))
        assert seeds <= {(await prepared.secret())["seed"]}
        enrolled = [one for one in await told(prepared) if one.short_type == words.EVENT_ENROLLED]
        assert len(enrolled) <= 1


async def test_a_copy_does_not_run_and_is_told_of(prepared: Prepared, tmp_path: Path) -> None:
    """The Secret of a member, restored into another cluster: the membership of `first` is put here."""
    server = prepared.server
    async with (
        controlling(server, tmp_path),
        prepared.operator() as operator,
        server.bus("controller") as bus,
    ):
        token = await admitted_token(server, operator, "first")
        first = Candidate("uid-of-the-first")
        answer = await first.enrol(token)
        values = joined_values(token.join_token(), first.uid, seed_of(first.key), answer)
        await prepared.hand_over(values)
        async with running(prepared, tmp_path / "agent.log") as process, asyncio.timeout(30):
            assert await process.wait() == 1

        async def is_told() -> bool:
            return any(
                one.short_type == words.EVENT_QUARANTINED and first.uid in one.data["message"]
                for one in await events(bus)
            )

        await eventually(is_told)
        assert "this is a copy of another cluster" in (tmp_path / "agent.log").read_text()


async def test_a_used_token_ends_the_agent_with_a_sentence(prepared: Prepared, tmp_path: Path) -> None:
    server = prepared.server
    async with controlling(server, tmp_path), prepared.operator() as operator:
        token = await admitted_token(server, operator, "new")
        assert (await Candidate("somebody-else").enrol(token)).outcome == "admitted"
        await prepared.hand_over({"token": token.join_token().text()})
        async with running(prepared, tmp_path / "agent.log") as process, asyncio.timeout(30):
            assert await process.wait() == 1
        assert "was used by" in (tmp_path / "agent.log").read_text()
