"""Servers that want a certificate of clients: nobody gets as far as a login without one of the right authority."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.folder import certificate_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.online import make_streams, reload_servers, running_accounts
from fleetbus.cli.ceremony.record import read_record
from fleetbus.local.ports import free_port
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import Issued, issue_for_key, make_authority
from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.errors import BusUnavailable, NotPossible, SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed, verify_key
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer, certified, fleet_server
from tests.connect_proxy import connect_proxy
from tests.integration.bus.raw import raw_publisher
from tests.waiting import wait_until

C1 = ClusterId("main", "c1")
KINDS = pytest.mark.parametrize("kind", ["tls", "wss"])


@pytest.fixture
async def served(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    port = free_port()
    name = f"mtls-{CLOCK.identifier()}"
    async with fleet_server(processes, tmp_path, name, websocket_port=port, mtls="required") as fleet:
        yield fleet


def address_of(fleet: FleetServer, kind: str) -> str:
    return next(one for one in read_record(fleet.folder).bus_servers if one.startswith(kind))


def settings(fleet: FleetServer, who: str, kind: str) -> BusSettings:
    return replace(fleet.settings(who), servers=(address_of(fleet, kind),))


async def refusal(fleet: FleetServer, kind: str, certificate: str) -> BusUnavailable:
    credential = fleet.credentials["c1"]
    trust, opened = Trust(ca_pem=fleet.ca_pem, certificate=certificate), Connection()
    with pytest.raises(BusUnavailable) as refused:
        await opened.open(
            parse_address(address_of(fleet, kind)),
            token=credential.token,
            key=key_of_seed(credential.seed),
            trust=await asyncio.to_thread(trust.context, credential.seed),
            name="c1",
        )
    return refused.value


@KINDS
async def test_with_its_certificate_everybody_connects_and_comes_back(served: FleetServer, kind: str) -> None:
    async with connect_proxy() as proxy:
        through = replace(settings(served, "operator", kind), proxy=proxy.url)
        async with (
            NatsBus(settings(served, "controller", kind), CLOCK) as controller,
            NatsBus(settings(served, "c1", kind), CLOCK) as agent,
            NatsBus(through, CLOCK) as operator,
        ):
            everybody = (controller, agent, operator)
            for bus in everybody:
                await asyncio.wait_for(bus.wait_connected(), 10)
            await served.server.restart()
            for bus in everybody:
                await asyncio.wait_for(bus.connection_changed(1), 20)
            await controller.publish(subjects.query(C1), b"")
    assert len(await running_accounts(served.folder, CLOCK)) == 5


@KINDS
async def test_who_has_none_or_a_wrong_one_is_refused_and_told_why(served: FleetServer, kind: str) -> None:
    credential = served.credentials["c1"]
    key, now = bytes(verify_key(credential.nkey)), CLOCK.now()
    stranger = make_authority("test clients", now)
    servers = Issued((served.folder / "ca.crt").read_bytes(), (served.folder / "ca.key").read_bytes())
    day = timedelta(days=1)
    for certificate, said in (
        ("", "none is shown"),
        (certified(served.folder, credential, timedelta(minutes=30)), "the own certificate has expired"),
        (issue_for_key(stranger, "c1", key, now, valid_for=day).decode(), "not of the authority"),
        (issue_for_key(servers, "c1", key, now, valid_for=day).decode(), "not of the authority"),
    ):
        error = await refusal(served, kind, certificate)
        assert said in error.message, error.message
        assert error.error_code == "FB3007"
        assert "fleetbus cluster join" in error.remedy


async def test_a_bare_socket_gets_no_word_in_without_one(served: FleetServer) -> None:
    with pytest.raises((OSError, AssertionError, EOFError)):
        async with raw_publisher(served, "controller") as peer:
            await peer.publish(b"fleet.v1.x", b"")


async def test_another_certificate_is_shown_without_a_restart(served: FleetServer, tmp_path: Path) -> None:
    """By a file that changes, and by `show`; one for another key is refused, and changes nothing."""
    file = tmp_path / "controller.crt"
    await asyncio.to_thread(file.write_text, served.certificates["controller"])
    by_file = Trust(ca_pem=served.ca_pem, certificate_file=file)
    by_text = served.trust("c1")
    async with (
        NatsBus(replace(served.settings("controller"), trust=by_file), CLOCK) as controller,
        NatsBus(replace(served.settings("c1"), trust=by_text), CLOCK) as agent,
    ):
        await controller.wait_connected()
        await agent.wait_connected()
        ids = [bus._here().connection._client_id for bus in (controller, agent)]
        served.folder.joinpath("clients-ca.key").unlink()
        await make_fleet(served.folder, FleetPlan("test"), served.keys, CLOCK.now())
        # Whoever replaces that authority has a certificate that the server does not take before it has read it.
        served.server.process.send(signal.SIGHUP)
        assert await wait_until(lambda: is_refused(served), CLOCK, 10)
        assert [bus._here().connection._client_id for bus in (controller, agent)] == ids
        assert "not of the authority" in (await refusal(served, "tls", served.certificates["c1"])).message
        seed = served.seed("c1")
        with pytest.raises(SettingsInvalid, match="not for the key"):
            await asyncio.to_thread(by_text.show, certified(served.folder, served.credentials["c2"]), seed)
        await asyncio.to_thread(by_text.show, certified(served.folder, served.credentials["c1"]), seed)
        made = await asyncio.to_thread(certificate_file(served.folder, "controller").read_bytes)
        await asyncio.to_thread(file.write_bytes, made)
        for bus in (controller, agent):
            await bus.reconnect()
            await asyncio.wait_for(bus.connection_changed(1), 20)


async def is_refused(served: FleetServer) -> bool:
    """With what the fleet had at first."""
    async with NatsBus(served.settings("c2"), CLOCK) as bus:
        await asyncio.wait([asyncio.ensure_future(bus.wait_connected())], timeout=1)
        return not bus.connected


async def test_a_fleet_goes_over_to_certificates_step_by_step(processes: Processes, tmp_path: Path) -> None:
    """Who has none stays connected while they are offered; straight away they are not required."""
    async with fleet_server(processes, tmp_path, f"over-{CLOCK.identifier()}") as fleet:
        folder, keys, now = fleet.folder, fleet.keys, CLOCK.now()
        with pytest.raises(NotPossible, match="have no certificates yet"):
            await make_fleet(folder, FleetPlan("test", mtls="required"), keys, now)
        async with fleet.bus("c1") as without:
            await make_fleet(folder, FleetPlan("test", mtls="offered"), keys, now)
            await reload_servers(folder, CLOCK)
            await without.reconnect()
            await asyncio.wait_for(without.connection_changed(1), 20)
            await make_fleet(folder, FleetPlan("test", mtls="required"), keys, now)
            await reload_servers(folder, CLOCK)
            await make_streams(folder, CLOCK)
            assert without.connection == 2
            shown = certified(folder, fleet.credentials["c1"])
            with_one = replace(fleet.settings("c1"), trust=Trust(ca_pem=fleet.ca_pem, certificate=shown))
            async with NatsBus(with_one, CLOCK) as agent:
                await asyncio.wait_for(agent.wait_connected(), 10)
            assert "none is shown" in (await refusal(fleet, "tls", "")).message
            await make_fleet(folder, FleetPlan("test", mtls="off"), keys, now)
