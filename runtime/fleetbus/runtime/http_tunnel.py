"""A tunnel through an HTTP proxy to a server of the bus. The proxy sees where it leads and ciphertext, nothing else."""

from __future__ import annotations

import asyncio
import base64
import ssl

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.http_upgrade import Head, HttpMalformed, read_head
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.bus_proxy import BusProxy
from fleetbus.schemas.errors import BusUnavailable

PROXY = "FB3009"
"""Code of every error about a proxy."""
_SETTING = "`proxy` of the context, `busProxy` of the controller, `bus-proxy` in the agent's Secret"


async def open_tunnel(
    proxy: BusProxy, address: BusAddress, timeout_s: float, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Through the proxy to the address. Raises BusUnavailable, which names the proxy; then nothing is left open."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            # An https:// proxy has a certificate of the public web, or of who runs this machine.
            trust = await asyncio.to_thread(ssl.create_default_context) if proxy.scheme == "https" else None
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port, ssl=trust, limit=limit)
            writer.write(_request(proxy, address))
            await writer.drain()
            head = await read_head(reader)
        if head.status // 100 != 2:
            raise _refused(head, proxy, address)
        return reader, writer
    except BaseException as cause:
        if writer is not None:
            writer.transport.abort()
        if isinstance(cause, OSError | TimeoutError):
            raise _unreached(cause, proxy, address) from cause
        raise


def _request(proxy: BusProxy, address: BusAddress) -> bytes:
    lines = [f"CONNECT {address.authority} HTTP/1.1", f"Host: {address.authority}"]
    if proxy.login:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(proxy.login.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _refused(head: Head, proxy: BusProxy, address: BusAddress) -> BusUnavailable:
    where = str(address)
    # Some proxies, such as tinyproxy, refuse a login with 401.
    if head.status in (401, 407):
        said = "does not take the login" if proxy.login else "wants a login"
        remedy = f"write http://USER:PASSWORD@HOST:PORT where the proxy is set: {_SETTING}"
        return BusUnavailable(f"the proxy {proxy} {said} ({head})", where=where, remedy=remedy, code=PROXY)
    if head.status >= 500:
        remedy = f"see whether the proxy reaches {address.authority}"
        return BusUnavailable(
            f"the proxy {proxy} does not get there ({head})", where=where, remedy=remedy, code=PROXY
        )
    allow = f"have CONNECT to {address.authority} allowed there"
    remedy = f"{allow}; where only 443 is: `fleetbus init --websocket-port 443`"
    return BusUnavailable(f"the proxy {proxy} refuses ({head})", where=where, remedy=remedy, code=PROXY)


def _unreached(cause: OSError | TimeoutError, proxy: BusProxy, address: BusAddress) -> BusUnavailable:
    if isinstance(cause, TimeoutError):
        said = f"the proxy {proxy} does not answer in time"
    elif isinstance(cause, HttpMalformed):
        said = f"the proxy {proxy} does not do as asked: {cause}"
    else:
        said = f"the proxy {proxy} is not reached: {cleaned(str(cause)) or type(cause).__name__}"
    remedy = f"see whether it runs there; without it: `direct` in its place ({_SETTING}), or NO_PROXY"
    return BusUnavailable(said, where=str(address), remedy=remedy, code=PROXY)
