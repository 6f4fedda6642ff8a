"""The owner's side of a ceremony: the fleet's folder, its keys, and the ways to bus and Vault, opened at once."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.online import system_bus
from fleetbus.cli.ceremony.parting import Owned
from fleetbus.cli.ceremony.reaching import reaching
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.ceremony.servers import signing_keys, vault_admin
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.enrolment import VaultPlace


@asynccontextmanager
async def owning(folder: Path | None, token_file: Path | None, clock: Clock) -> AsyncIterator[Owned | None]:
    """None without a folder. Raises NotFound, SettingsInvalid; what is away is said when it is used."""
    if folder is None:
        yield None
        return
    record = read_record(folder)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(reaching(system_bus(folder, clock)))
        vault = None
        if record.vault is not None:
            vault = await stack.enter_async_context(reaching(_vault(record.vault, token_file)))
        opened = signing_keys(folder, record.fleet, record.signing, record.vault, token_file)
        keys = await stack.enter_async_context(opened)
        yield Owned(folder, keys, bus, vault)


@asynccontextmanager
async def _vault(place: VaultPlace, token_file: Path | None) -> AsyncIterator[VaultAdmin]:
    with tempfile.TemporaryDirectory(prefix="fleetbus-") as folder:
        authority = Path(folder) / "vault-ca.crt" if place.ca else None
        if authority is not None:
            write_whole(authority, place.ca)
        async with vault_admin(place, token_file, authority) as vault:
            yield vault
