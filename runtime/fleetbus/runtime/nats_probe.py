"""One look at a server of the bus from outside, without a login: the certificate that it shows."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime

from fleetbus.runtime.nats_refusals import unavailable
from fleetbus.runtime.nats_transport import Dialled
from fleetbus.runtime.trust import Trust, moment
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.bus_proxy import proxy_for
from fleetbus.schemas.errors import BusUnavailable

_TIMEOUT_S = 5.0


async def certificate_ends_at(address: BusAddress, trust: Trust, proxy: str = "") -> datetime:
    """When the server's certificate ends. `proxy`: as in `BusSettings`.

    Raises BusUnavailable: no answer, or a certificate that is not accepted; SettingsInvalid when the authority cannot
    be read.
    """
    context = await asyncio.to_thread(trust.context)
    through = proxy_for(address, proxy, os.environ)
    dialled: Dialled | None = None
    try:
        dialled = await Dialled.reach(address, through, _TIMEOUT_S)
        if address.scheme == "tls":
            async with asyncio.timeout(_TIMEOUT_S):
                greeting = await dialled.readline()
            if not greeting.startswith(b"INFO "):
                raise BusUnavailable("what answers there is no server of NATS", where=str(address))
        await dialled.start_tls(context, _TIMEOUT_S)
        return moment(str(dialled.certificate["notAfter"]))
    except (OSError, TimeoutError, ValueError, KeyError) as cause:
        raise unavailable(cause, address, through) from cause
    finally:
        if dialled is not None:
            dialled.abort()
