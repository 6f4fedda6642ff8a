"""Which proxy counts, as people expect it of other programs; and that no login is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetbus.schemas.bus_address import parse_address
from fleetbus.schemas.bus_proxy import BusProxy, parse_proxy, proxy_for
from fleetbus.schemas.errors import SettingsInvalid

BUS = parse_address("tls://bus.example.com:4222")
PROXY = BusProxy("http", "proxy.example.com", 3128)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example.com:3128", PROXY),
        ("http://proxy.example.com:3128/", PROXY),
        ("proxy.example.com:3128", PROXY),
        ("http://proxy", BusProxy("http", "proxy", 80)),
        ("https://proxy", BusProxy("https", "proxy", 443)),
        ("http://ana:p%40ss%3Aword@proxy:3128", BusProxy("http", "proxy", 3128, "ana:p@ss:word")),
        ("http://ana@proxy:3128", BusProxy("http", "proxy", 3128, "ana:")),
        ("http://[fd00::1]:3128", BusProxy("http", "fd00::1", 3128)),
    ],
)
def test_a_proxy_is_read(text: str, proxy: BusProxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "socks5://hunter2@proxy:1080",
        "http://hunter2:x@",
        "http://hunter2@proxy:99999",
        "http://hunter2@proxy/path",
        "http://hunter2@proxy?x",
        "http://hunter2\r\nX: y@proxy",
        "http://ana:hunter2%0d%0aX:@proxy",
        "http://hunter2@pro xy",
    ],
)
def test_what_is_no_proxy_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_proxy(text)
    assert "hunter2" not in refused.value.sentence()
    assert "http://HOST:PORT" in refused.value.remedy


def test_a_login_is_in_no_representation() -> None:
    proxy = parse_proxy("http://ana:hunter2@proxy:3128")
    assert (str(proxy), "hunter2" in repr(proxy), "ana" in repr(proxy)) == ("http://proxy:3128", False, False)


def test_the_setting_counts_before_the_environment_and_direct_before_both() -> None:
    environment = {"HTTPS_PROXY": "http://other:3128"}
    assert proxy_for(BUS, "http://proxy.example.com:3128", environment) == PROXY
    assert proxy_for(BUS, "http://proxy.example.com:3128", {"NO_PROXY": "*"}) == PROXY
    assert proxy_for(BUS, "direct", environment) is None
    assert proxy_for(BUS, "", {}) is None
    assert str(proxy_for(BUS, "", environment)) == "http://other:3128"
    assert str(proxy_for(BUS, "", {"https_proxy": "low:1", "HTTPS_PROXY": ""})) == "http://low:1"
    assert proxy_for(BUS, "", {"HTTP_PROXY": "http://other:3128"}) is None


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        ("*", True),
        ("bus.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("a.com, BUS.example.com ", True),
        ("bus.example.com:4222", True),
        ("bus.example.com:443", False),
        ("ample.com", False),
        ("other.example.com", False),
        ("", False),
        (" , ", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_names_and_all_below_them(exceptions: str, direct: bool) -> None:
    environment = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": exceptions}
    assert (proxy_for(BUS, "", environment) is None) is direct


@pytest.mark.parametrize(
    ("address", "exceptions", "direct"),
    [
        ("tls://10.1.2.3", "10.0.0.0/8", True),
        ("tls://10.1.2.3", "10.1.2.3", True),
        ("tls://10.1.2.3", "10.1.2.3:4222", True),
        ("tls://10.1.2.3", "11.0.0.0/8", False),
        ("tls://[fd00::1]", "fd00::/8", True),
        ("tls://[fd00::1]", "[fd00::1]", True),
        ("tls://[fd00::1]", "[fd00::1]:4222", True),
        ("tls://[fd00::1]", "[fd00::1]:443", False),
        ("tls://127.0.0.1", "", True),
        ("wss://localhost", "", True),
    ],
)
def test_no_proxy_names_networks_and_loopback_is_never_sent_away(
    address: str, exceptions: str, direct: bool
) -> None:
    environment = {"HTTPS_PROXY": "http://proxy.example.com:3128", "no_proxy": exceptions}
    assert (proxy_for(parse_address(address), "", environment) is None) is direct


def test_a_wrong_environment_is_named_and_not_quoted() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        proxy_for(BUS, "", {"https_proxy": "socks5://ana:hunter2@proxy"})
    assert "https_proxy" in refused.value.where
    assert "hunter2" not in refused.value.sentence()


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=20))
def test_whatever_the_environment_holds_is_a_proxy_or_refused(proxy: str, exceptions: str) -> None:
    try:
        found = proxy_for(BUS, "", {"HTTPS_PROXY": proxy, "NO_PROXY": exceptions})
    except SettingsInvalid:
        return
    assert found is None or "\n" not in str(found) + found.login
