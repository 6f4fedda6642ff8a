"""`fleetbus init`: make a fleet in a folder; with --online make its streams."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import authority_file, server_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_streams, make_vault, person_seed_file
from fleetbus.cli.ceremony.record import FILE, FleetRecord, VaultPlace, read_record
from fleetbus.cli.ceremony.servers import vault_admin
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.runtime.clock import SystemClock

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("init")
@click.option("--out", "folder", type=_FOLDER, required=True, help="The fleet's folder; keep it safe.")
@click.option("--name", default="", help="The fleet's name: a DNS label.")
@click.option(
    "--host", "hosts", multiple=True, help="Name or address by which the bus is reached; the first is told."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Of the bus; 4222 for a new fleet.")
@click.option("--operator", "operators", multiple=True, help="Added; `admin` for a new fleet.")
@click.option("--subscriber", "subscribers", multiple=True, help="Added; `events` for a new fleet.")
@click.option("--vault-address", default="", help="https:// address of Vault, to write its part as well.")
@click.option("--vault-token-file", type=_FILE, help="Its owner's token; or set VAULT_TOKEN.")
@click.option("--vault-ca", type=_FILE, help="PEM file of the authority of Vault's certificate.")
@click.option("--online", is_flag=True, help="The second half: the bus runs, make its streams.")
@click.option("--replicas", type=click.IntRange(1, 5), default=1, show_default=True, help="Of each stream.")
@click.option("--no-context", is_flag=True, help="Do not write the first operator's context.")
@pass_invocation
def command(
    invocation: Invocation,
    folder: Path,
    name: str,
    hosts: tuple[str, ...],
    port: int | None,
    operators: tuple[str, ...],
    subscribers: tuple[str, ...],
    vault_address: str,
    vault_token_file: Path | None,
    vault_ca: Path | None,
    online: bool,
    replicas: int,
    no_context: bool,
) -> int:
    """
    \b
    fleetbus init --out fleet --name prod --host bus.example.com
    nats-server -c fleet/nats/server.conf
    fleetbus init --out fleet --online

    Run again it changes what is said and nothing else. The folder holds every key of the fleet: whoever has it
    owns the fleet.
    """
    output = invocation.output
    if online:
        record = read_record(folder)
        invocation.run_async(make_streams(folder, record, SystemClock(), replicas=replicas))
        output.line(f"fleet/{record.fleet} streams ", Cell("ready", "good"))
        return exit_codes.DONE
    there = (folder / FILE).is_file()
    if not there and not (name and hosts):
        raise click.UsageError("Say --name and --host.")
    named = name or read_record(folder).fleet
    plan = FleetPlan(named, hosts, port or 0, operators=operators, subscribers=subscribers)
    record = make_fleet(folder, plan, SystemClock().now(), output.line)
    if vault_address:
        ca = read_text(vault_ca) if vault_ca else ""
        place = VaultPlace(address=vault_address.rstrip("/"), ca=ca)
        invocation.run_async(_vault(place, vault_token_file, vault_ca, folder, output))
    if not no_context:
        _save_context(folder, record, operators, output)
    output.line(f"fleet/{record.fleet} ", Cell("ready", "good"), f" in {folder}")
    _next(output, folder)
    return exit_codes.DONE


async def _vault(
    place: VaultPlace,
    token_file: Path | None,
    ca_file: Path | None,
    folder: Path,
    output: Output,
) -> None:
    async with vault_admin(place, token_file, ca_file) as admin:
        await make_vault(admin, place, folder, output.line)


def _save_context(folder: Path, record: FleetRecord, asked: tuple[str, ...], output: Output) -> None:
    from fleetbus.cli.contexts import save, user_of

    known = [one.name for one in record.people if one.role == "operator"]
    before = user_of(record.fleet)
    operator = asked[0] if asked else before if before in known else known[0]
    written = save(
        record.fleet,
        record.bus_servers,
        user=operator,
        seed_file=person_seed_file(folder, record, operator),
        ca_file=authority_file(folder).absolute(),
        fleet=record.fleet,
        signing_keys=record.signing_keys,
    )
    if written:
        output.line(f"context {record.fleet} written")


def _next(output: Output, folder: Path) -> None:
    output.note("")
    for line in (
        f"nats-server -c {server_file(folder)}",
        f"fleetbus init --out {folder} --online",
        f"fleetbus-controller --config {folder / 'controller.json'}",
        f"fleetbus cluster join NAME --kube-context CONTEXT --fleet-dir {folder}",
    ):
        output.note("Next: ", Cell(line, "command"))
