"""Why no connection to a server of the bus came about, in words: what it is, and what to do about it. Pure."""

from __future__ import annotations

import ssl

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.bus_proxy import BusProxy
from fleetbus.schemas.errors import BusUnavailable

CERTIFICATE = "FB3007"
"""Code of every error about a certificate of the bus."""

_ENDED = "certificate has expired"
_MISMATCH = "not valid for"
_RENEW = (
    "whoever runs the fleet renews it: `fleetbus init --out DIR --renew-certificates`, then, as nobody can connect any"
    " more, `kill -HUP` of nats-server where it runs"
)
_OTHER_NAME = (
    "reach it by a name that is in it, or add this one: `fleetbus init --out DIR --host NAME`, then"
    " `fleetbus init --out DIR --online`"
)
_OWN = (
    "a person's: `fleetbus init --out DIR` makes it again, beside the credential; an agent's comes with each renewal,"
    " and with `fleetbus cluster join` again"
)
_OTHER_AUTHORITY = (
    "if it is the fleet's own server, take the authority (`ca.crt` of the fleet's folder) again; if not, somebody"
    " stands in between"
)


_ALERTS = {
    "CERTIFICATE_REQUIRED": ("the server wants a client's certificate, and none is shown", _OWN),
    "CERTIFICATE_EXPIRED": ("the own certificate has expired", _OWN),
    "UNKNOWN_CA": ("the own certificate is not of the authority that the server wants", _OWN),
    "BAD_CERTIFICATE": ("the own certificate is not accepted", _OWN),
}
"""What a server says at the end of a handshake, by a part of the library's word for it."""


def unavailable(cause: BaseException, address: BusAddress, proxy: BusProxy | None = None) -> BusUnavailable:
    """The error for what hindered a connection to a server, through a proxy if there is one."""
    where, through = str(address), f" through the proxy {proxy}" if proxy else ""
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = cause.verify_message
        remedy = _RENEW if _ENDED in said else _OTHER_NAME if _MISMATCH in said else _OTHER_AUTHORITY
        message = f"the server's certificate is not accepted{through}: {cleaned(said)}"
        return BusUnavailable(message, where=where, remedy=remedy, code=CERTIFICATE)
    alert = _alert(cause)
    if alert is not None:
        message, remedy = alert
        return BusUnavailable(f"{message}{through}", where=where, remedy=remedy, code=CERTIFICATE)
    if isinstance(cause, TimeoutError):
        reason = "no answer in time"
    elif isinstance(cause, ssl.SSLError):
        reason = f"what answers there speaks no TLS 1.3 ({cleaned(cause.reason or type(cause).__name__)})"
    else:
        reason = cleaned(str(cause)) or type(cause).__name__
    return BusUnavailable(f"no connection to the bus{through}: {reason}", where=where)


def _alert(cause: BaseException) -> tuple[str, str] | None:
    if not isinstance(cause, ssl.SSLError) or "ALERT" not in (cause.reason or ""):
        return None
    return next((said for word, said in _ALERTS.items() if word in cause.reason), None)
