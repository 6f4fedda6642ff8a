"""One look at a server of the bus from outside, without a login: the certificate that it shows."""

from __future__ import annotations

import asyncio
from datetime import datetime

from fleetbus.runtime.nats_refusals import unavailable
from fleetbus.runtime.nats_transport import Dialled
from fleetbus.runtime.trust import Trust, moment
from fleetbus.schemas.bus_address import BusAddress
from fleetbus.schemas.errors import BusUnavailable

_TIMEOUT_S = 5.0


async def certificate_ends_at(address: BusAddress, trust: Trust) -> datetime:
    """When the server's certificate ends. Raises BusUnavailable: no answer, or a certificate that is not accepted;
    SettingsInvalid when the authority cannot be read."""
    context = await asyncio.to_thread(trust.context)
    dialled: Dialled | None = None
    try:
        dialled = await Dialled.dial(address, _TIMEOUT_S)
        async with asyncio.timeout(_TIMEOUT_S):
            greeting = await dialled.readline()
        if not greeting.startswith(b"INFO "):
            raise BusUnavailable("what answers there is no server of NATS", where=str(address))
        await dialled.start_tls(context, _TIMEOUT_S)
        return moment(str(dialled.certificate["notAfter"]))
    except (OSError, TimeoutError, ValueError, KeyError) as cause:
        raise unavailable(cause, str(address)) from cause
    finally:
        if dialled is not None:
            dialled.abort()
