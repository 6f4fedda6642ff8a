"""`fleetbus doctor`: checks with a code, why, and one command that mends it."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.checks import AREAS, Check, fleet_checks, print_checks, summary_line
from fleetbus.cli.contexts import spoken_to
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.permission_checks import permission_checks
from fleetbus.cli.transport_checks import transport_checks
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import FleetbusError

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("doctor")
@click.option("--vault-address", default="", help="Also look whether Vault answers from here.")
@click.option("--vault-ca", type=_FILE, help="PEM file of the authority of Vault's certificate.")
@click.option(
    "--fleet-dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="FLEETBUS_FLEET_DIR",
    help="Also compare the bus's permissions with the contract; or set FLEETBUS_FLEET_DIR.",
)
@click.option("--strict", is_flag=True, help="Warnings end with 1 as well.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text")
@pass_invocation
def command(
    invocation: Invocation,
    vault_address: str,
    vault_ca: Path | None,
    folder: Path | None,
    strict: bool,
    form: str,
) -> int:
    """
    \b
    fleetbus doctor
    fleetbus doctor --fleet-dir fleet
    fleetbus doctor --vault-address https://vault.example.com:8200 -o json

    A check whose cause has failed already is skipped. Ends with 1 when a check failed.
    """
    found = invocation.run_async(_checks(invocation, vault_address, vault_ca, folder))
    _print(invocation.output, found, form)
    states = {one.state for one in found}
    failed = "bad" in states or (strict and "warn" in states)
    return exit_codes.FAILED if failed else exit_codes.DONE


def _print(output: Output, found: list[Check], form: str) -> None:
    if form == "json":
        output.json([one.as_json() for one in found])
        return
    print_checks(output, found)
    if not output.plain:
        output.line("")
        output.line(summary_line(found))


async def _checks(
    invocation: Invocation, vault_address: str, vault_ca: Path | None, folder: Path | None
) -> list[Check]:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    name = spoken_to(invocation.context)
    found = [Check("you", "FB6002", "good", f"fleetbus {version_of('fleetbus')}, context {name}")]
    try:
        async with invocation.fleet() as fleet:
            found += await _connected(fleet, clock.monotonic_s() - began_s)
    except FleetbusError as error:
        found.append(_failed("bus" if error.error_code.startswith("FB3") else "you", error))
    if not any(one.area == "fleet" for one in found):
        found.append(
            Check("fleet", "FB2001", "skip", "away clusters, held prunes: needs the controller first")
        )
    found += await transport_checks(invocation.context)
    found += await permission_checks(folder)
    if vault_address:
        found.append(await _vault(vault_address, vault_ca))
    return sorted(found, key=lambda one: AREAS.index(one.area))


async def _connected(fleet: Fleet, took_s: float) -> list[Check]:
    found = [Check("bus", "FB3001", "good", f"connected in {took_s * 1000:.0f} ms")]
    clock = SystemClock()
    began_s = clock.monotonic_s()
    try:
        overview = await fleet.overview()
    except FleetbusError as error:
        return [*found, _failed("bus", error)]
    answered_ms = (clock.monotonic_s() - began_s) * 1000
    return [*found, *fleet_checks(overview, answered_ms, clock.now())]


def _failed(area: str, error: FleetbusError) -> Check:
    fix = error.remedy or f"fleetbus explain {error.error_code}"
    return Check(area, error.error_code, "bad", error.message, why=error.where, fix=fix)


async def _vault(address: str, ca_file: Path | None) -> Check:
    from fleetbus.runtime.vault_admin import VaultAdmin

    try:
        async with VaultAdmin(address, "", ca_file) as vault:
            status = await vault.seal_status()
    except FleetbusError as error:
        return _failed("vault", error)
    if status.sealed:
        why = "nobody can read or change a secret; those in the clusters stay"
        return Check("vault", "FB4001", "bad", f"{address} is sealed", why=why, fix="bao operator unseal")
    return Check("vault", "FB4001", "good", f"{address} is unsealed")
