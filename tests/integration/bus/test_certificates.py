"""Certificates change under a running fleet: no server restarts, no connection ends, and what is wrong is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetbus.cli.ceremony.folder import authority_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.online import reload_servers
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.certificates import Issued, expires_at, issue_server, make_authority
from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer

C1 = ClusterId("main", "c1")


def client_id(bus: NatsBus) -> Any:
    """By which the server knows the connection."""
    return bus._here().connection._client_id


def authority(fleet: FleetServer) -> Issued:
    return Issued((fleet.folder / "ca.crt").read_bytes(), (fleet.folder / "ca.key").read_bytes())


def install(fleet: FleetServer, issued: Issued) -> None:
    """As the server finds it when it is told to read again."""
    (fleet.folder / "nats" / "server.key").write_bytes(issued.key)
    (fleet.folder / "nats" / "server.crt").write_bytes(issued.certificate)


async def refusal(fleet: FleetServer, trust: Trust) -> BusUnavailable:
    """Why one connection does not come about."""
    credential = fleet.credentials["c1"]
    opened = Connection()
    with pytest.raises(BusUnavailable) as refused:
        await opened.open(
            parse_address(fleet.server.url),
            token=credential.token,
            key=key_of_seed(credential.seed),
            trust=await asyncio.to_thread(trust.context),
            name="c1",
        )
    return refused.value


async def test_a_renewed_certificate_is_shown_at_once_and_no_connection_ends(own_fleet: FleetServer) -> None:
    folder, address = own_fleet.folder, parse_address(own_fleet.server.url)
    trust = Trust(ca_file=authority_file(folder))
    async with own_fleet.bus("controller") as controller, own_fleet.bus("c1") as agent:
        before = client_id(controller), client_id(agent)
        later = CLOCK.now() + timedelta(minutes=4)
        await make_fleet(folder, FleetPlan("test"), own_fleet.keys, later, renew_certificates=True)
        ends_at = expires_at(await asyncio.to_thread((folder / "nats" / "server.crt").read_bytes))
        assert await certificate_ends_at(address, trust) < ends_at
        assert await reload_servers(folder, CLOCK) == ("test-1",)
        assert await certificate_ends_at(address, trust) == ends_at
        async with agent.subscribe(subjects.query(C1)) as queries:
            await controller.publish(subjects.query(C1), b"still there")
            assert (await asyncio.wait_for(anext(aiter(queries)), 5)).data == b"still there"
        assert (client_id(controller), client_id(agent)) == before
        assert (controller.connection, agent.connection) == (1, 1)


async def test_another_authority_is_believed_without_a_restart(
    own_fleet: FleetServer, tmp_path: Path
) -> None:
    """The controller and the command by a file that changes, an agent by `replace`."""
    file, second = tmp_path / "believed.crt", make_authority("second", CLOCK.now())
    file.write_text(own_fleet.ca_pem)
    by_file = replace(own_fleet.settings("controller"), trust=Trust(ca_file=file))
    by_text = replace(own_fleet.settings("c1"), trust=Trust(ca_pem=own_fleet.ca_pem))
    async with NatsBus(by_file, CLOCK) as controller, NatsBus(by_text, CLOCK) as agent:
        await controller.wait_connected()
        await agent.wait_connected()
        before = client_id(controller), client_id(agent)
        install(own_fleet, issue_server(second, "bus", ("127.0.0.1",), CLOCK.now()))
        await reload_servers(own_fleet.folder, CLOCK)
        assert (await refusal(own_fleet, Trust(ca_pem=own_fleet.ca_pem))).error_code == "FB3007"
        assert (client_id(controller), client_id(agent)) == before
        file.write_bytes(second.certificate)
        by_text.trust.replace(own_fleet.ca_pem + second.certificate.decode())
        await own_fleet.server.restart()
        for bus in (controller, agent):
            await asyncio.wait_for(bus.connection_changed(1), 20)
        await controller.publish(subjects.query(C1), b"")


@pytest.mark.parametrize(
    ("made", "said", "remedy"),
    [
        (
            lambda it: issue_server(it, "bus", ("127.0.0.1",), CLOCK.now() - timedelta(days=9), valid_days=8),
            "has expired",
            "kill -HUP",
        ),
        (
            lambda it: issue_server(it, "bus", ("bus.example.com",), CLOCK.now()),
            "not valid for",
            "--host NAME",
        ),
        (
            lambda it: issue_server(
                make_authority("test bus", CLOCK.now()), "bus", ("127.0.0.1",), CLOCK.now()
            ),
            "certificate",
            "somebody stands in between",
        ),
    ],
    ids=["expired", "another name", "another authority of the same name"],
)
async def test_a_certificate_that_is_not_accepted_says_why_and_what_to_do(
    own_fleet: FleetServer, made: Callable[[Issued], Issued], said: str, remedy: str
) -> None:
    install(own_fleet, made(authority(own_fleet)))
    await reload_servers(own_fleet.folder, CLOCK)
    error = await refusal(own_fleet, Trust(ca_pem=own_fleet.ca_pem))
    assert error.error_code == "FB3007"
    assert said in error.message
    assert remedy in error.remedy
    with pytest.raises(BusUnavailable, match="not accepted"):
        await certificate_ends_at(parse_address(own_fleet.server.url), Trust(ca_pem=own_fleet.ca_pem))


async def test_a_server_that_cannot_use_what_it_reads_keeps_the_former_and_says_so(
    own_fleet: FleetServer,
) -> None:
    install(own_fleet, Issued(b"half", b"half"))
    with pytest.raises(SettingsInvalid, match="keeps its former configuration") as refused:
        await reload_servers(own_fleet.folder, CLOCK)
    assert "nats-server -t" in refused.value.remedy
    async with own_fleet.bus("controller") as controller:
        await controller.publish(subjects.query(C1), b"")
