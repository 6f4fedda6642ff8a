"""How the authority of the bus's servers is replaced on a running fleet: told first, used then, forgotten last."""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony import authority
from fleetbus.cli.ceremony.folder import server_folder
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.online import reload_servers
from fleetbus.cli.ceremony.servers import signing_keys
from fleetbus.cli.rotate_publish import Changing, spread
from fleetbus.runtime.certificates import is_issued_by
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.trust import Trust
from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.errors import BusUnavailable, NotPossible


async def rotate_authority(changing: Changing, token_file: Path | None) -> None:
    """Interrupted at any place, or ended by TimeoutExpired, it goes on when it is called again.

    Raises NotPossible when a server still shows a certificate of the former authority: its folder is to be copied.
    """
    folder, output = changing.folder, changing.output
    if changing.record.insecure_dev:
        raise NotPossible("a fleet of --insecure-dev has no authority", where=str(folder))
    changing.expect_root()
    if authority.is_prepared(folder) or len(authority.believed(folder)) == 1:
        authority.prepare(folder, changing.clock.now(), forced=changing.forced)
        output.line("the next authority is believed beside the present one")
        await spread(changing, await changing.charter())
        authority.switch(folder, changing.clock.now())
    await _reissue(changing, token_file)
    servers = await reload_servers(folder, changing.clock)
    output.line(f"certificates read again by {', '.join(servers)}")
    await _shown(changing)
    authority.finish(folder)
    await spread(changing, await changing.charter())


async def _reissue(changing: Changing, token_file: Path | None) -> None:
    """The servers' certificates, where they are not by the authority that issues now."""
    folder, known = changing.folder, changing.record
    present = authority.believed(folder)[0]
    places = [server_folder(folder, node) for node in known.nodes or (None,)]
    if all(is_issued_by((place / "server.crt").read_bytes(), present) for place in places):
        return
    async with signing_keys(folder, known.fleet, known.signing, known.vault, token_file) as keys:
        await make_fleet(
            folder,
            FleetPlan(known.fleet),
            keys,
            changing.clock.now(),
            changing.output.line,
            root_key=changing.root_key,
            renew_certificates=True,
        )


async def _shown(changing: Changing) -> None:
    """Every server shows a certificate that who believes the new authority alone believes."""
    alone = Trust(ca_pem=authority.believed(changing.folder)[0].decode())
    for address in parse_addresses(changing.record.bus_servers):
        try:
            await certificate_ends_at(address, alone)
        except BusUnavailable as error:
            raise NotPossible(
                f"{address} does not show a certificate of the new authority: {error.message}",
                remedy=f"copy its folder below {changing.folder}/nats to its machine, then run the same again",
            ) from error
