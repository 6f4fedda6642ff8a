"""The controller's token for Vault, kept alive by whoever leads and whoever stands by: unused for a period it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from fleetbus.controller.settings import read_secret
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.schemas.errors import VaultForbidden

LONGEST_PAUSE_S = 600.0
"""A token that its owner has made anew is taken at the latest after so long."""

_log = structlog.get_logger("controller")


class OwnToken(Protocol):
    """What is asked of Vault; `runtime.vault_admin.VaultAdmin` is one."""

    async def renew_own_token(self) -> float: ...

    def use_token(self, token: str) -> None: ...


@asynccontextmanager
async def kept_alive(vault: OwnToken, file: Path, clock: Clock) -> AsyncIterator[None]:
    """Renew the token for the length of the context; one that Vault refuses is read again from its file."""
    keeping = asyncio.create_task(_keep(vault, file, clock), name="vault token")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _keep(vault: OwnToken, file: Path, clock: Clock) -> None:
    used = await asyncio.to_thread(read_secret, file)

    async def step() -> float:
        nonlocal used
        try:
            lasts_s = await vault.renew_own_token()
        except VaultForbidden:
            written = await asyncio.to_thread(read_secret, file)
            if written == used:
                raise
            vault.use_token(written)
            used = written
            _log.info("the token for Vault was made anew")
            return 0.0
        return clock.jitter(min(lasts_s / 3, LONGEST_PAUSE_S))

    await repeat("vault token", step, clock)
