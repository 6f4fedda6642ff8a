"""`fleetbus doctor` on certificates as servers show them, and a fleet of --insecure-dev, which warns at each use."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest

from fleetbus.cli.ceremony import online
from fleetbus.cli.ceremony.folder import authority_file, certificate_file
from fleetbus.cli.ceremony.handing import context
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.keys import FolderKeys, person_file, read_credential
from fleetbus.cli.ceremony.online import make_streams, reload_servers
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.cluster_join import pinned_by
from fleetbus.cli.output import Output, Screen
from fleetbus.cli.program import main
from fleetbus.cli.transport_checks import transport_checks
from fleetbus.client import connect, load_context, save_context
from fleetbus.local.nats import NatsServer
from fleetbus.local.ports import free_port
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import Issued, issue_server, make_authority
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from tests.bus_server import CLOCK, FleetServer, certified, fleet_server
from tests.waiting import wait_until

Ran = tuple[int, str, str]


@pytest.fixture
async def fleet(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, tmp_path, f"transport-{tmp_path.name}") as server:
        yield server


@pytest.fixture(autouse=True)
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "config.yaml"))


def as_operator(folder: Path, operator: str) -> None:
    record = read_record(folder)
    save_context(context(folder, record, record.fleet, operator, person_file(folder, record, operator)))


async def fleetbus(*arguments: str) -> Ran:
    out, err = StringIO(), StringIO()
    output = Output(out, err, Screen(), Screen())
    return await asyncio.to_thread(main, arguments, output=output), out.getvalue(), err.getvalue()


def install(folder: Path, valid_days: int) -> None:
    authority = Issued((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    issued = issue_server(
        authority, "bus", ("127.0.0.1",), CLOCK.now() - timedelta(days=9), valid_days=valid_days
    )
    (folder / "nats" / "server.key").write_bytes(issued.key)
    (folder / "nats" / "server.crt").write_bytes(issued.certificate)


async def test_doctor_sees_what_ends_soon_on_the_wire_and_the_remedy_mends_it(fleet: FleetServer) -> None:
    folder = fleet.folder
    as_operator(folder, "operator")
    assert [(one.state, one.code) for one in await transport_checks("")] == [("good", "FB3007")]
    install(folder, 30)
    await reload_servers(folder, CLOCK)
    (soon,) = await transport_checks("")
    assert (soon.state, "127.0.0.1" in soon.text, "--renew-certificates" in soon.fix) == ("warn", True, True)
    for words in (("--renew-certificates",), ("--online",)):
        code, out, err = await fleetbus("init", "--out", str(folder), "--no-context", *words)
        assert code == 0, err
    assert "read again by test-1" in out
    assert [one.state for one in await transport_checks("")] == ["good"]


async def test_an_ended_certificate_is_an_error_with_its_code_and_remedy(
    fleet: FleetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "_CONNECT_TIMEOUT_S", 1.0)
    as_operator(fleet.folder, "operator")
    install(fleet.folder, 8)
    await reload_servers(fleet.folder, CLOCK)
    (ended,) = await transport_checks("")
    assert (ended.state, "has expired" in ended.text) == ("bad", True)
    code, _, err = await fleetbus("status")
    assert (code, "error[FB3007]" in err, "--renew-certificates" in err) == (1, True, True), err
    with pytest.raises(BusUnavailable, match="has expired") as refused:
        await reload_servers(fleet.folder, CLOCK)
    assert "kill -HUP" in refused.value.remedy
    await make_fleet(fleet.folder, FleetPlan("test"), fleet.keys, CLOCK.now())
    fleet.server.process.send(signal.SIGHUP)

    async def mended() -> bool:
        return [one.state for one in await transport_checks("")] == ["good"]

    assert await wait_until(mended, CLOCK, 10)


async def test_a_server_that_is_not_the_fleets_is_told_from_one_that_is_away(fleet: FleetServer) -> None:
    as_operator(fleet.folder, "operator")
    known = load_context()
    stranger = make_authority("test bus", CLOCK.now()).certificate
    assert known.ca_file == authority_file(fleet.folder)
    known.ca_file.write_bytes(stranger)
    with pytest.raises(SettingsInvalid, match="not accepted") as refused:
        async with connect(known):
            pass
    assert "stands in between" in refused.value.remedy
    await fleet.server.stop()
    (away,) = await transport_checks("")
    assert (away.state, "was not seen" in away.text) == ("warn", True)


async def test_an_authority_that_ends_soon_is_named(fleet: FleetServer) -> None:
    as_operator(fleet.folder, "operator")
    file, now = authority_file(fleet.folder), CLOCK.now()
    file.write_bytes(file.read_bytes() + make_authority("old", now, valid_days=20).certificate)
    (soon,) = await transport_checks("")
    assert (soon.state, str(file) in soon.text) == ("warn", True)


async def test_an_own_certificate_that_ends_soon_or_is_gone_is_named(
    processes: Processes, tmp_path: Path
) -> None:
    name = f"own-{tmp_path.name}"
    async with fleet_server(processes, tmp_path, name, websocket_port=free_port(), mtls="required") as fleet:
        as_operator(fleet.folder, "operator")
        file = certificate_file(fleet.folder, "operator-operator")
        assert load_context().certificate_file == file
        assert [one.state for one in await transport_checks("")] == ["good"]
        await asyncio.to_thread(file.write_text, certified(fleet.folder, fleet.credentials["operator"]))
        (soon,) = await transport_checks("")
        assert (soon.state, str(file) in soon.text) == ("warn", True)
        await asyncio.to_thread(file.write_text, certified(fleet.folder, fleet.credentials["c1"]))
        with pytest.raises(SettingsInvalid, match="not for the key"):
            async with connect(load_context()):
                pass
        alone = replace(load_context(), certificate_file=None, servers=(fleet.server.url,))
        await asyncio.to_thread(save_context, alone)
        with pytest.raises(SettingsInvalid, match="none is shown") as refused:
            async with connect(load_context()):
                pass
        assert (refused.value.error_code, "fleetbus init" in refused.value.remedy) == ("FB3007", True)


async def test_a_fleet_of_insecure_dev_works_and_warns_at_each_use(
    processes: Processes, tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    server = NatsServer(processes, folder / "nats", 'include "server.conf"', name=f"plain-{tmp_path.name}")
    port = str(await asyncio.to_thread(server.reserve))
    words = ("init", "--out", str(folder), "--name", "plain", "--host", "127.0.0.1", "--port", port)
    code, _, err = await fleetbus(*words, "--insecure-dev")
    assert (code, "no TLS" in err) == (0, True), err
    async with server:
        await make_streams(folder, CLOCK)
        code, _, err = await fleetbus("init", "--out", str(folder), "--online")
        assert (code, "no TLS" in err) == (0, True), err
        async with connect(load_context()) as fleet:
            assert fleet.insecure
        (finding,) = await transport_checks("")
        assert (finding.state, finding.code) == ("bad", "FB3008")
        pinned = await asyncio.to_thread(pinned_by, folder, "", ())
        assert pinned.insecure
        assert pinned.bus_servers == (f"nats://127.0.0.1:{port}",)
        await asyncio.to_thread(save_context, replace(load_context(), insecure=False))
        code, _, err = await fleetbus("status")
        assert (code, "would be plaintext" in err) == (1, True), err
        settings = BusSettings(
            pinned.bus_servers, read_credential(folder, "controller"), subjects.CONTROLLER_INBOX, "test"
        )
        with pytest.raises(SettingsInvalid, match="would be plaintext"):
            async with NatsBus(settings, CLOCK):
                pass
        marked = BusSettings(
            settings.servers, settings.credential, settings.inbox_prefix, "test", insecure=True
        )
        async with NatsBus(marked, CLOCK) as bus:
            await asyncio.wait_for(bus.wait_connected(), 5)


async def test_a_tls_address_is_never_talked_to_in_plaintext(processes: Processes, tmp_path: Path) -> None:
    """Not even when the server is one of --insecure-dev."""
    folder = tmp_path / "plain"
    server = NatsServer(processes, folder / "nats", 'include "server.conf"', name=f"tls-{tmp_path.name}")
    plan = FleetPlan("plain", ("127.0.0.1",), server.reserve(), insecure_dev=True)
    await make_fleet(folder, plan, FolderKeys(folder), CLOCK.now())
    async with server:
        credential = read_credential(folder, "controller")
        for insecure in (False, True):
            settings = BusSettings(
                (server.url,), credential, subjects.CONTROLLER_INBOX, "test", insecure=insecure
            )
            async with NatsBus(settings, CLOCK) as bus:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(bus.wait_connected(), 0.5)
                with pytest.raises(BusUnavailable):
                    await bus.publish(subjects.ALL_API, b"")
