"""Addresses of the bus: what may be written as one, and that none of them means plaintext unless it is marked so."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from fleetbus.schemas.errors import SettingsInvalid

Scheme = Literal["tls", "wss", "nats"]

_PORTS: Final[dict[Scheme, int]] = {"tls": 4222, "wss": 443, "nats": 4222}
_FORMS = "write tls://HOST:PORT, or wss://HOST[:PORT][/PATH] for a WebSocket"
_PATH = re.compile(r"[A-Za-z0-9/._~%-]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_LOOPBACK_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class BusAddress:
    """One server: `tls` is NATS over TLS, `wss` the same in a WebSocket, perhaps at a path of somebody's reverse proxy;
    `nats` is plaintext, which only a fleet made with --insecure-dev has."""

    scheme: Scheme
    host: str
    port: int
    path: str = ""

    @property
    def encrypted(self) -> bool:
        return self.scheme != "nats"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """`host:port`."""
        return f"{bracketed(self.host)}:{self.port}"


def parse_addresses(texts: Iterable[str], *, insecure: bool = False) -> tuple[BusAddress, ...]:
    """At least one. Raises SettingsInvalid, as `parse_address`."""
    found = tuple(parse_address(text, insecure=insecure) for text in texts)
    if not found:
        raise SettingsInvalid("no server of the bus is named", remedy=_FORMS)
    return found


def parse_address(text: str, *, insecure: bool = False) -> BusAddress:
    """`insecure`: whoever gives the address has been marked as one of --insecure-dev.

    Raises SettingsInvalid, which quotes nothing of an address that holds a login.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SettingsInvalid("not an address of the bus", remedy=_FORMS) from error
    if parts.username is not None or parts.password is not None:
        raise SettingsInvalid(
            "an address of the bus holds a login", remedy="leave it out: a credential says who connects"
        )
    scheme = next((one for one in _PORTS if one == parts.scheme), None)
    path = parts.path if scheme == "wss" else ""
    # The host is looked up and written into requests: what could stand there for something else is refused.
    wrong = (
        not host or not _HOST.fullmatch(host) or port == 0 or parts.path != path or not _PATH.fullmatch(path)
    )
    # What is not printable the parser leaves out.
    wrong = wrong or not text.isprintable()
    if scheme is None or wrong or parts.query or parts.fragment:
        raise SettingsInvalid("not an address of the bus", where="" if "@" in text else text, remedy=_FORMS)
    address = BusAddress(scheme, host, port or _PORTS[scheme], path)
    if not address.encrypted:
        _check_plaintext(address, insecure=insecure)
    return address


def _check_plaintext(address: BusAddress, *, insecure: bool) -> None:
    if not insecure:
        raise SettingsInvalid(
            "nats:// would be plaintext, which nobody here has asked for",
            where=str(address),
            remedy=f"write tls://{bracketed(address.host)}:{address.port}; plaintext is only for a fleet made with"
            " `fleetbus init --insecure-dev`",
        )
    if not is_loopback(address.host):
        raise SettingsInvalid(
            "--insecure-dev is plaintext on this machine's loopback, nowhere else",
            where=str(address),
            remedy="write tls://, or an address such as 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine; a name other than `localhost` may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == _LOOPBACK_NAME


def bracketed(host: str) -> str:
    """As it stands before a port."""
    return f"[{host}]" if ":" in host else host
