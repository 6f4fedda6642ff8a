"""A bus of three servers, each started in its own folder: it goes on without one; all know who is revoked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.closing import revoke_keys, see_closed
from fleetbus.cli.ceremony.folder import server_folder
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.keys import FolderKeys, read_credential
from fleetbus.cli.ceremony.online import make_streams, push_accounts, reload_servers, system_bus
from fleetbus.cli.ceremony.record import Node
from fleetbus.local.nats import NatsServer
from fleetbus.local.ports import free_port, is_free
from fleetbus.local.processes import Processes, together
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import Issued, issue_peer
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.ports import Put
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.connections import Connection
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.streams import STREAMS
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, admitted
from tests.followed import followed
from tests.waiting import wait_until

C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")


@dataclass(frozen=True, slots=True)
class ThreeServers:
    folder: Path
    nodes: tuple[Node, ...]
    servers: tuple[NatsServer, ...]
    agents: dict[ClusterId, BusSettings]
    controller: BusSettings


def _node(name: str) -> Node:
    while True:
        node = Node(name=name, host="127.0.0.1", port=free_port())
        if is_free(node.routes_port):
            return node


@pytest.fixture(scope="module")
async def three(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ThreeServers]:
    """Each test leaves all three running."""
    folder = tmp_path_factory.mktemp("three") / "fleet"
    keys, nodes = FolderKeys(folder), tuple(_node(name) for name in "abc")
    plan = FleetPlan("three", nodes=nodes, listen_host="127.0.0.1")
    record = await make_fleet(folder, plan, keys, CLOCK.now())
    agents = {one: await admitted(folder, one.name) for one in (C1, C2)}
    await issue(folder, keys, CLOCK.now())
    servers = []
    for node in nodes:
        place = server_folder(folder, node)
        server = NatsServer(processes, place, 'include "server.conf"', name=f"three-{node.name}")
        server.port = node.port
        servers.append(server)
    authority = Trust(ca_file=folder / "ca.crt")
    # Together, since none of them answers before it has met another.
    async with together(*servers):
        await make_streams(folder, CLOCK)
        yield ThreeServers(
            folder,
            nodes,
            tuple(servers),
            {
                one: BusSettings(
                    record.bus_servers, agent, subjects.inbox("main", one.name), one.name, authority
                )
                for one, agent in agents.items()
            },
            BusSettings(
                record.bus_servers,
                read_credential(folder, "controller"),
                subjects.CONTROLLER_INBOX,
                "controller",
                trust=authority,
            ),
        )


async def test_it_goes_on_without_one(three: ThreeServers) -> None:
    async with NatsBus(three.controller, CLOCK) as controller, NatsBus(three.agents[C1], CLOCK) as agent:
        await controller.wait_connected()
        for stream in STREAMS:
            told = json.loads((await controller.request(subjects.stream_info(stream.name), b"")).data)
            assert told["config"]["num_replicas"] == 3
        await agent.wait_connected()
        await agent.put(Put(subjects.state(C1, "facts"), b"before"))
        await three.servers[0].kill()

        async def goes_on() -> bool:
            try:
                await agent.put(Put(subjects.state(C1, "facts"), b"after"))
                found = await controller.get_last("STATE", subjects.state(C1, "facts"))
            except BusUnavailable:
                return False
            return found is not None and found.data == b"after"

        assert await wait_until(goes_on, CLOCK, 40)
    await three.servers[0].start()


async def test_a_cluster_that_moves_to_another_server_is_not_gone(three: ThreeServers) -> None:
    """Not while two connections overlap, and not when its server dies, which tells nobody of anybody."""
    agent = three.agents[C1]
    here, there = (replace(agent, servers=(server,)) for server in agent.servers[1:])
    async with NatsBus(replace(three.controller, servers=agent.servers[:1]), CLOCK) as controller:
        await controller.wait_connected()
        async with followed(controller, agent.credential.nkey) as found:
            async with NatsBus(here, CLOCK) as first:
                await first.wait_connected()
                await found.until("connected", 1)
                del found.links[:]
                async with NatsBus(there, CLOCK) as second:
                    await second.wait_connected()
                    await found.until("connected", 2)
                await found.until("connected", 1)
                assert set(found.links) <= {"connected"}
            await found.until("disconnected", 0)
            async with NatsBus(replace(agent, servers=agent.servers[1:]), CLOCK) as mover:
                await mover.wait_connected()
                await found.until("connected", 1)
                del found.links[:]
                await three.servers[1].kill()
                try:
                    await found.until("connected", 2)
                    await found.until("connected", 1)
                finally:
                    await three.servers[1].start()
            assert set(found.links) <= {"connected"}


async def test_every_server_knows_who_is_revoked(three: ThreeServers) -> None:
    """Also one that was away when it was said."""
    await three.servers[2].kill()
    last = three.agents[C2].servers[1]
    async with NatsBus(replace(three.agents[C2], servers=(last,)), CLOCK) as agent:
        await agent.wait_connected()

        nkey, accounts = three.agents[C2].credential.nkey, ("AGENTS_main",)
        await revoke_keys(three.folder, accounts, (nkey,), FolderKeys(three.folder), CLOCK)
        await push_accounts(three.folder, accounts, CLOCK)

        async def gone() -> bool:
            return not agent.connected

        assert await wait_until(gone, CLOCK, 10)
    await three.servers[2].start()
    for server in three.agents[C2].servers:
        async with NatsBus(replace(three.agents[C2], servers=(server,)), CLOCK) as agent:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(agent.wait_connected(), 1)


async def test_what_is_open_on_one_server_is_closed_though_another_is_silent(three: ThreeServers) -> None:
    """Of a key that nobody revoked, so that no server does it by itself; then the silent one is what is wrong."""
    await three.servers[2].kill()
    settings = replace(three.agents[C1], servers=three.agents[C1].servers[1:2])
    theirs = set[tuple[str, int]]()

    def is_theirs(one: Connection) -> bool:
        if one.nkey == settings.credential.nkey and not theirs:
            theirs.add((one.server_id, one.cid))
        return (one.server_id, one.cid) in theirs

    async with NatsBus(settings, CLOCK) as agent, system_bus(three.folder, CLOCK) as system:
        await agent.wait_connected()
        with pytest.raises(BusUnavailable, match="no answer from three-c"):
            await see_closed(system, three.folder, CLOCK, ("AGENTS_main",), is_theirs)
        assert theirs

        async def came_again() -> bool:
            return agent.connection == 2

        assert await wait_until(came_again, CLOCK, 10)
    await three.servers[2].start()


async def test_all_three_read_renewed_certificates_and_no_connection_ends(three: ThreeServers) -> None:
    """Those of the routes too: the servers stay one bus."""
    async with NatsBus(three.controller, CLOCK) as controller:
        await controller.wait_connected()

        async def written() -> bool:
            try:
                return bool(await controller.put(Put(subjects.desired(C1), b"by all three")))
            except BusUnavailable:
                return False

        assert await wait_until(written, CLOCK, 20)
        looks = [
            certificate_ends_at(address, three.controller.trust) for address in three.controller.addresses()
        ]
        before = await asyncio.gather(*looks)
        later = CLOCK.now() + timedelta(minutes=4)
        plan = FleetPlan("three")
        await make_fleet(three.folder, plan, FolderKeys(three.folder), later, renew_certificates=True)
        assert len(await reload_servers(three.folder, CLOCK)) == 3
        looks = [
            certificate_ends_at(address, three.controller.trust) for address in three.controller.addresses()
        ]
        after = await asyncio.gather(*looks)
        assert all(new > old for new, old in zip(after, before, strict=True))
        assert await written()
        assert controller.connection == 1
    await three.servers[1].restart()
    assert len(await reload_servers(three.folder, CLOCK)) == 3


async def test_a_server_that_does_not_answer_is_missed_when_certificates_are_read(
    three: ThreeServers,
) -> None:
    await three.servers[0].stop()
    try:
        with pytest.raises(BusUnavailable, match="2 of 3 servers answer"):
            await reload_servers(three.folder, CLOCK)
    finally:
        await three.servers[0].start()


async def test_a_certificate_of_the_buss_authority_opens_no_route(three: ThreeServers) -> None:
    """Only the servers' own authority does: whatever the other one signs one day can't pose as a server."""
    node, folder = three.nodes[0], three.folder
    for name, taken in (("ca", False), ("routes-ca", True)):
        authority = Issued((folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes())
        issued = issue_peer(authority, "stranger", ("127.0.0.1",), CLOCK.now())
        (folder / "mine.crt").write_bytes(issued.certificate)
        (folder / "mine.key").write_bytes(issued.key)
        trust = ssl.create_default_context(cafile=str(folder / "routes-ca.crt"))
        trust.load_cert_chain(folder / "mine.crt", folder / "mine.key")
        greeting = b""
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", node.routes_port, ssl=trust, server_hostname="127.0.0.1"
            )
            try:
                async with asyncio.timeout(5):
                    greeting = await reader.readline()
            finally:
                writer.transport.abort()
        except (ssl.SSLError, ConnectionError):
            pass
        assert greeting.startswith(b"INFO ") == taken
