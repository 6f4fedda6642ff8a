"""From a context to a connected bus; what hinders it becomes one error that says what to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from fleetbus.client.context import Context
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_refusals import CERTIFICATE
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import BusUnavailable, NotPermitted, SettingsInvalid

CONNECT_TIMEOUT_S = 6.0
"""For each kind of address: where one kind is let out only, the other is given up first."""

logger = logging.getLogger("fleetbus.client")
logger.addHandler(logging.NullHandler())


class _Heard:
    """What the bus last said about not connecting; the rest goes to the standard library's logging."""

    def __init__(self, *, alone: bool) -> None:
        """`alone`: there is no other server, so that one which is not trusted is the end."""
        self._alone = alone
        self.reason = self.remedy = self.code = ""
        self.refused = asyncio.Event()

    def processor(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if event.get("event") == "not connected":
            self.reason = str(event.get("reason", ""))
            self.remedy, self.code = str(event.get("remedy", "")), str(event.get("code", ""))
            distrusted = self.code == CERTIFICATE and self._alone
            if "authorization" in self.reason.lower() or distrusted:
                self.refused.set()
        return structlog.stdlib.render_to_log_kwargs(_logger, _method, event)

    def log(self) -> structlog.typing.FilteringBoundLogger:
        log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            logger, processors=[self.processor], wrapper_class=structlog.stdlib.BoundLogger
        )
        return log


@asynccontextmanager
async def connected_bus(context: Context, credential: Credential, clock: Clock) -> AsyncIterator[NatsBus]:
    """A connected bus, with the context's credential. Raises SettingsInvalid, NotPermitted, BusUnavailable."""
    heard = _Heard(alone=len(context.servers) == 1)
    settings = BusSettings(
        servers=context.servers,
        credential=credential,
        inbox_prefix=subjects.personal_inbox(credential.nkey),
        name=f"fleetbus client {context.user}",
        trust=Trust(ca_file=context.ca_file, certificate_file=context.certificate_file),
        insecure=context.insecure,
        proxy=context.proxy,
    )
    async with NatsBus(settings, clock, heard.log()) as bus:
        await _connect(bus, context, heard)
        yield bus


async def _connect(bus: NatsBus, context: Context, heard: _Heard) -> None:
    kinds = {address.partition(":")[0] for address in context.servers}
    steps = [asyncio.ensure_future(bus.wait_connected()), asyncio.ensure_future(heard.refused.wait())]
    try:
        await asyncio.wait(steps, timeout=CONNECT_TIMEOUT_S * len(kinds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for step in steps:
            step.cancel()
    if bus.connected:
        return
    where = f"context {context.name}"
    if heard.code == CERTIFICATE:
        raise SettingsInvalid(heard.reason, where=where, remedy=heard.remedy, code=heard.code)
    if heard.refused.is_set():
        raise NotPermitted(
            f"the bus does not know the key of `{context.user}`",
            where=where,
            remedy="ask whoever runs the fleet, or take another context with --context",
        )
    reason = heard.reason or "no answer"
    raise BusUnavailable(
        f"no connection to {', '.join(context.servers)}: {reason}",
        where=where,
        remedy=heard.remedy or "see whether the bus runs there (`fleetbus local status` for a local fleet)",
        code=heard.code or None,
    )
