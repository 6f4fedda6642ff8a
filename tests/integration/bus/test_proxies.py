"""The bus through an HTTP CONNECT proxy: with a login, again after it was away, and with an error that names it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime import nats_client
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import issue_server, make_authority
from fleetbus.runtime.nats_client import Connection
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.bus_proxy import parse_proxy
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.connect_proxy import ConnectProxy, connect_proxy
from tests.waiting import wait_until

C1 = ClusterId("main", "c1")
LOGIN = "ana:hunter2"
KINDS = pytest.mark.parametrize("kind", ["tls", "wss"])


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with connect_proxy(LOGIN) as running:
        yield running


def address_of(fleet: FleetServer, kind: str) -> str:
    return next(one for one in read_record(fleet.folder).bus_servers if one.startswith(kind))


def settings(fleet: FleetServer, who: str, kind: str, proxy: str) -> BusSettings:
    return replace(fleet.settings(who), servers=(address_of(fleet, kind),), proxy=proxy)


@asynccontextmanager
async def connected(to: BusSettings) -> AsyncIterator[NatsBus]:
    async with NatsBus(to, CLOCK) as bus:
        await asyncio.wait_for(bus.wait_connected(), 10)
        yield bus


@KINDS
async def test_it_goes_through_with_a_login_and_back_again_after_the_proxy_was_away(
    served: FleetServer, proxy: ConnectProxy, kind: str
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with (
            connected(settings(served, "controller", kind, proxy.url)) as controller,
            connected(settings(served, "c1", kind, proxy.url)) as agent,
            agent.subscribe(subjects.query(C1)) as queries,
        ):
            assert proxy.asked == [address_of(served, kind).removeprefix(f"{kind}://")] * 2
            await controller.publish(subjects.query(C1), b"x" * 900_000)
            assert len((await asyncio.wait_for(anext(aiter(queries)), 10)).data) == 900_000
            await proxy.stop()
            await wait_until(lambda: _true(not controller.connected and not agent.connected), CLOCK, 10)
            await proxy.start()
            for bus in (controller, agent):
                await asyncio.wait_for(bus.connection_changed(1), 20)
            await controller.publish(subjects.query(C1), b"again")
            assert (await asyncio.wait_for(anext(aiter(queries)), 10)).data == b"again"
    assert "hunter2" not in repr(logged)
    assert f"http://127.0.0.1:{proxy.port}" in repr(logged)
    assert "hunter2" not in repr(settings(served, "c1", kind, proxy.url))


async def refusal(fleet: FleetServer, kind: str, proxy: str, trust: Trust | None = None) -> BusUnavailable:
    credential = fleet.credentials["c1"]
    opened = Connection()
    with pytest.raises(BusUnavailable) as refused:
        await opened.open(
            parse_address(address_of(fleet, kind)),
            token=credential.token,
            key=key_of_seed(credential.seed),
            trust=await asyncio.to_thread((trust or Trust(ca_pem=fleet.ca_pem)).context),
            name="c1",
            proxy=parse_proxy(proxy),
        )
    assert "hunter2" not in refused.value.sentence()
    assert proxy.rpartition("@")[2].rpartition("/")[2] in refused.value.message
    return refused.value


@KINDS
@pytest.mark.parametrize(
    ("answer", "said", "remedy"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses (403 Forbidden)", "have CONNECT to 127.0.0.1:"),
        (b"HTTP/1.1 405 Not \x1b[31mAllowed\r\n\r\n", "refuses (405 Not Allowed)", "have CONNECT"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "does not get there (502", "whether the proxy reaches"),
        (b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "refuses (301 Moved)", "have CONNECT"),
        (b"", "it closed the connection", "`direct` in its place"),
        (b"HTTP/1.1 200 Conn", "closed the connection within its answer", "`direct` in its place"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is no HTTP", "`direct` in its place"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: x\r\n" * 9000 + b"\r\n", "too long", "`direct` in its place"),
    ],
)
async def test_a_proxy_that_does_not_help_is_named_with_what_to_do(
    served: FleetServer, proxy: ConnectProxy, kind: str, answer: bytes, said: str, remedy: str
) -> None:
    proxy.answer = answer
    error = await refusal(served, kind, proxy.url)
    assert error.error_code == "FB3009"
    assert said in error.message
    assert remedy in error.remedy


async def test_a_login_that_is_missing_or_wrong_is_told_apart(
    served: FleetServer, proxy: ConnectProxy
) -> None:
    without = f"http://127.0.0.1:{proxy.port}"
    assert "wants a login (407" in (await refusal(served, "tls", without)).message
    wrong = f"http://ana:hunter22@127.0.0.1:{proxy.port}"
    error = await refusal(served, "tls", wrong)
    assert "does not take the login (407" in error.message
    assert "hunter22" not in error.sentence()
    assert "`bus-proxy` in the agent's Secret" in error.remedy


@KINDS
async def test_a_proxy_that_hangs_or_is_not_there_is_given_up(
    served: FleetServer, proxy: ConnectProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "CONNECT_TIMEOUT_S", 0.2)
    proxy.silent = True
    assert "does not answer in time" in (await refusal(served, kind, proxy.url)).message
    await proxy.stop()
    assert "is not reached" in (await refusal(served, kind, proxy.url)).message


@KINDS
async def test_the_certificate_is_the_servers_whatever_stands_in_between(
    served: FleetServer, proxy: ConnectProxy, kind: str
) -> None:
    """A proxy that opens TLS has another authority; and one that leads elsewhere has no certificate for the name."""
    stranger = Trust(ca_pem=make_authority("test bus", CLOCK.now()).certificate.decode())
    error = await refusal(served, kind, proxy.url, stranger)
    assert (error.error_code, "through the proxy" in error.message) == ("FB3007", True)


@KINDS
async def test_a_proxy_may_be_spoken_to_over_tls(
    served: FleetServer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an authority that this machine believes, which the fleet's need not be."""
    authority = make_authority("of this machine", CLOCK.now())
    issued = issue_server(authority, "proxy", ("127.0.0.1",), CLOCK.now())
    for name, content in {"ca": authority.certificate, "crt": issued.certificate, "key": issued.key}.items():
        await asyncio.to_thread((tmp_path / name).write_bytes, content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(context.load_cert_chain, tmp_path / "crt", tmp_path / "key")
    async with connect_proxy(LOGIN, context) as proxy:
        assert "certificate" in (await refusal(served, kind, proxy.url)).message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca"))
        async with connected(settings(served, "controller", kind, proxy.url)) as controller:
            await controller.publish(subjects.query(C1), b"x" * 500_000)
            await controller._here().connection.barrier()
        assert len(proxy.asked) == 1


async def test_the_environment_counts_where_nothing_is_set(
    served: FleetServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://ana:hunter2@127.0.0.1:1")
    by_name = replace(settings(served, "c1", "tls", ""), servers=("tls://bus.example.com",))
    with pytest.raises(SettingsInvalid, match="not an address of a proxy") as refused:
        async with NatsBus(by_name, CLOCK):
            pass
    assert "HTTPS_PROXY" in refused.value.where
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    async with NatsBus(by_name, CLOCK):
        assert await wait_until(lambda: _true("bus.example.com:4222" in proxy.asked), CLOCK, 10)
    for direct in (replace(by_name, proxy="direct"), settings(served, "c1", "tls", "")):
        proxy.asked.clear()
        monkeypatch.setattr(nats_client, "CONNECT_TIMEOUT_S", 0.3)
        async with NatsBus(direct, CLOCK) as bus:
            await asyncio.wait([asyncio.ensure_future(bus.wait_connected())], timeout=0.3)
        assert proxy.asked == []


async def _true(value: bool) -> bool:
    return value
