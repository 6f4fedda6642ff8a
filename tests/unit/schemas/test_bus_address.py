"""What is no address of the bus is refused, and so is plaintext that nobody has asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetbus.schemas.bus_address import BusAddress, parse_address, parse_addresses
from fleetbus.schemas.errors import SettingsInvalid


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tls://bus.example.com", BusAddress("tls", "bus.example.com", 4222)),
        ("tls://bus.example.com:443", BusAddress("tls", "bus.example.com", 443)),
        ("tls://[::1]:4222", BusAddress("tls", "::1", 4222)),
        ("wss://bus.example.com", BusAddress("wss", "bus.example.com", 443)),
        ("wss://bus.example.com:8443/nats/prod", BusAddress("wss", "bus.example.com", 8443, "/nats/prod")),
        ("TLS://Bus.Example.com", BusAddress("tls", "bus.example.com", 4222)),
    ],
)
def test_an_address_is_read(text: str, address: BusAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address
    assert address.encrypted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bus.example.com",
        "bus.example.com:4222",
        "http://bus.example.com",
        "ws://bus.example.com",
        "tls://",
        "tls://:4222",
        "tls://bus:0",
        "tls://bus:70000",
        "tls://bus:port",
        "tls://bus/path",
        "tls://bus?x=1",
        "tls://bus#x",
        "tls://bus\n",
        "tls://b\tus",
        "tls://bus example",
        "wss://bus/a b",
        "wss://bus/a?b=c",
        "wss://bus/\r\nX:",
        "tls://[::1",
    ],
)
def test_what_is_no_address_is_refused_and_says_how_to_write_one(text: str) -> None:
    for insecure in (False, True):
        with pytest.raises(SettingsInvalid) as refused:
            parse_address(text, insecure=insecure)
        assert "tls://HOST" in refused.value.remedy


def test_a_login_in_an_address_is_refused_and_never_quoted() -> None:
    for text in ("tls://ana:hunter2@bus:4222", "tls://hunter2@bus"):
        with pytest.raises(SettingsInvalid) as refused:
            parse_address(text)
        assert "hunter2" not in refused.value.sentence()


def test_plaintext_is_refused_without_the_mark_and_says_what_to_write() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_addresses(["tls://bus.example.com", "nats://127.0.0.1:4222"])
    assert "write tls://127.0.0.1:4222" in refused.value.remedy
    assert "--insecure-dev" in refused.value.remedy


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_with_the_mark_plaintext_stays_on_this_machine(host: str) -> None:
    assert not parse_address(f"nats://{host}:4222", insecure=True).encrypted


@pytest.mark.parametrize(
    "host", ["bus.example.com", "10.0.0.1", "0.0.0.0", "[::]", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_with_the_mark_plaintext_leaves_this_machine_nowhere(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="loopback"):
        parse_address(f"nats://{host}:4222", insecure=True)


@pytest.mark.parametrize("text", ["ana:hunter2@bus:4222", "nats:ana:hunter2@bus", "tls://ana:hunter2@bus"])
def test_a_login_in_an_address_is_never_quoted(text: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_address(text)
    assert "hunter2" not in refused.value.sentence()


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(SettingsInvalid):
        parse_addresses([])


@settings(deadline=None)
@given(st.text(max_size=40) | st.text(max_size=20).map(lambda text: f"tls://{text}"))
def test_whatever_is_written_is_an_encrypted_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except SettingsInvalid:
        return
    assert address.encrypted
    assert parse_address(str(address)) == address
