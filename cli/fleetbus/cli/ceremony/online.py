"""What a ceremony does on the running bus: accounts' tokens, streams, certificates; each as often as one likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fleetbus.cli.ceremony.folder import authority_file, certificate_file, read_token, server_folder
from fleetbus.cli.ceremony.keys import read_credential
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.servers import quiet_log
from fleetbus.runtime import nats_servers
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_accounts import get_account, put_account
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.nats_refusals import CERTIFICATE
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.ports import Bus
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable

_CONNECT_TIMEOUT_S = 10.0
_STREAMS_TIMEOUT_S = 20.0


async def push_accounts(folder: Path, names: Sequence[str], clock: Clock) -> None:
    """The accounts' tokens as they are in the folder, with the system's credential. Raises BusUnavailable.

    Every server has them afterwards and acts on them: a new limit counts, a revoked user is disconnected.
    """
    async with system_bus(folder, clock) as bus:
        await put_accounts(bus, folder, names)


@asynccontextmanager
async def system_bus(folder: Path, clock: Clock) -> AsyncIterator[Bus]:
    """Connected with the system's credential. Raises BusUnavailable."""
    record = read_record(folder)
    async with _connected(folder, record, "system", subjects.SYSTEM_INBOX, clock) as bus:
        yield bus


async def put_accounts(bus: Bus, folder: Path, names: Sequence[str]) -> None:
    """`push_accounts` over a connection that stands. Raises BusUnavailable."""
    for name in names:
        token = ""
        # The server takes whatever comes last, so who wrote in the meantime must not be undone.
        while (latest := read_token(folder, name)) != token:
            token = latest
            await put_account(bus, token)


async def running_accounts(folder: Path, clock: Clock) -> dict[str, str]:
    """The accounts' tokens as a running server has them, by name; '' for one that it does not know.

    Raises BusUnavailable.
    """
    record = read_record(folder)
    async with system_bus(folder, clock) as bus:
        return {name: await get_account(bus, key) for name, key in sorted(record.accounts.items())}


async def reload_servers(folder: Path, clock: Clock) -> tuple[str, ...]:
    """Every server reads its configuration and certificates again, no connection ends; their names.

    Raises SettingsInvalid when one keeps its former configuration, BusUnavailable when one does not answer.
    """
    record = read_record(folder)
    async with _connected(folder, record, "system", subjects.SYSTEM_INBOX, clock) as bus:
        return await nats_servers.reload(bus, clock, len(record.nodes) or 1)


async def make_streams(folder: Path, clock: Clock) -> None:
    """With the controller's credential; one copy each, or three when the servers are several.

    Raises BusUnavailable, NotPermitted.
    """
    record = read_record(folder)
    end = clock.monotonic_s() + _STREAMS_TIMEOUT_S
    async with _connected(folder, record, "controller", subjects.CONTROLLER_INBOX, clock) as bus:
        while True:
            try:
                return await ensure_streams(bus, replicas=3 if record.nodes else 1)
            except BusUnavailable:
                # Servers that have just started choose who leads first.
                if clock.monotonic_s() >= end:
                    raise
            await clock.sleep(0.3)


@asynccontextmanager
async def _connected(
    folder: Path, record: FleetRecord, who: str, inbox: str, clock: Clock
) -> AsyncIterator[NatsBus]:
    settings = BusSettings(
        servers=record.bus_servers,
        credential=read_credential(folder, who),
        inbox_prefix=inbox,
        name="fleetbus ceremony",
        trust=Trust(
            ca_file=None if record.insecure_dev else authority_file(folder),
            certificate_file=None if record.mtls == "off" else certificate_file(folder, who),
        ),
        insecure=record.insecure_dev,
    )
    async with NatsBus(settings, clock, quiet_log()) as bus:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await bus.wait_connected()
        except TimeoutError as error:
            await _check_certificates(settings)
            start = f"nats-server -c {server_folder(folder) / 'server.conf'}"
            if record.nodes:
                start = "nats-server -c server.conf in each node's folder"
            raise BusUnavailable(
                f"no connection within {_CONNECT_TIMEOUT_S:.0f} s",
                where=", ".join(record.bus_servers),
                remedy=f"start it: {start}; then fleetbus init --out {folder} --online",
            ) from error
        yield bus


async def _check_certificates(settings: BusSettings) -> None:
    """Raises BusUnavailable when a server is there and its certificate is not accepted."""
    for address in settings.addresses():
        try:
            if address.encrypted:
                await certificate_ends_at(address, settings.trust, settings.proxy)
        except BusUnavailable as error:
            if error.error_code == CERTIFICATE:
                raise
