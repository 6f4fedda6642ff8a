"""HTTP CONNECT proxies on the way to the bus: what may be written as one, and which one counts. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from fleetbus.schemas.bus_address import BusAddress, bracketed, is_loopback
from fleetbus.schemas.errors import SettingsInvalid

DIRECT: Final = "direct"
"""A setting that says: no proxy, whatever the environment says."""
_PORTS: Final[dict[Literal["http", "https"], int]] = {"http": 80, "https": 443}
_FORMS = (
    "write http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if it wants a login"
)
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_VARIABLES = ("HTTPS_PROXY", "https_proxy")
_EXCEPTIONS = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True, slots=True)
class BusProxy:
    """A proxy that is asked to CONNECT. `login` is `user:password`, empty for none; secret."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    login: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Without its login: fit for errors and logs."""
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"


def parse_proxy(text: str) -> BusProxy:
    """Raises SettingsInvalid, which never quotes what it was given: it may hold a login."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
        login = unquote(parts.netloc.rpartition("@")[0], errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise SettingsInvalid("not an address of a proxy", remedy=_FORMS) from error
    scheme = next((one for one in _PORTS if one == parts.scheme), None)
    wrong = (
        not _HOST.fullmatch(host) or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment
    )
    if scheme is None or wrong or not text.isprintable() or not login.isprintable():
        raise SettingsInvalid("not an address of a proxy", remedy=_FORMS)
    if login and ":" not in login:
        login += ":"
    return BusProxy(scheme, host, port or _PORTS[scheme], login)


def has_login(text: str) -> bool:
    """Whether a setting, of whatever form, holds a login."""
    return "@" in text


def proxy_for(address: BusAddress, setting: str, environment: Mapping[str, str]) -> BusProxy | None:
    """The proxy on the way to `address`: `setting` (a URL, or `direct`), else HTTPS_PROXY unless NO_PROXY names it.

    The environment never sends what is on this machine's loopback away. Raises SettingsInvalid.
    """
    if setting:
        return None if setting == DIRECT or not address.encrypted else parse_proxy(setting)
    variable = next((one for one in _VARIABLES if environment.get(one)), "")
    if not variable or is_loopback(address.host) or _is_excepted(address, environment):
        return None
    try:
        return parse_proxy(environment[variable])
    except SettingsInvalid as error:
        raise SettingsInvalid(
            error.message, where=f"environment variable {variable}", remedy=error.remedy
        ) from error


def _is_excepted(address: BusAddress, environment: Mapping[str, str]) -> bool:
    named = next((environment[one] for one in _EXCEPTIONS if environment.get(one)), "")
    return any(_excepts(one.strip().lower(), address) for one in named.split(",") if one.strip())


def _excepts(exception: str, address: BusAddress) -> bool:
    """`*`, a name with all below it, an address or a network; with `:port` for that port alone."""
    if exception == "*":
        return True
    name, colon, port = exception.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        if int(port) != address.port:
            return False
        exception = name
    exception = exception.strip("[]")
    host = address.host.lower()
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
    except ValueError:
        pass
    suffix = exception.removeprefix("*").removeprefix(".")
    return host == suffix or host.endswith(f".{suffix}")
