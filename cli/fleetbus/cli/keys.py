"""`fleetbus keys`: whose word the fleet obeys; how that is changed, and brought back after a loss."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.charter import read_charter
from fleetbus.cli.ceremony.keys import person_file
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.rotation import is_prepared, is_raised
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.holding import holding
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.options import FLEET_DIR
from fleetbus.cli.rotate_authority import rotate_authority
from fleetbus.cli.rotate_publish import Changing, finish, raise_epoch, rotate, tell_bus
from fleetbus.cli.table import Cell
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import BusUnavailable, NotFound, SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_ROOT = click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the root's seed is, if not in the folder.",
)
_TIMEOUT = click.option(
    "--timeout", "timeout_s", type=Duration(), default="5m", show_default=True, help="Of each step."
)

_VAULT_TOKEN = click.option(
    "--vault-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --signing vault-transit; or set VAULT_TOKEN.",
)


@click.group("keys")
def command() -> None:
    """
    \b
    fleetbus keys show --fleet-dir fleet
    fleetbus keys rotate publish --fleet-dir fleet --root-key root.seed
    fleetbus keys rotate authority --fleet-dir fleet --root-key root.seed
    fleetbus keys raise-epoch --fleet-dir fleet --root-key root.seed
    """


@command.command("show", short_help="what the root says, and who has heard it")
@FLEET_DIR
@pass_invocation
def show_command(invocation: Invocation, folder: Path) -> int:
    """
    \b
    fleetbus keys show --fleet-dir fleet

    Says who has the newest charter when a controller answers.
    """
    record, output = read_record(folder), invocation.output
    sealed = read_charter(folder, record)
    if sealed is None:
        raise SettingsInvalid(
            "this fleet has no charter yet", where=str(folder), remedy=f"fleetbus init --out {folder}"
        )
    charter = sealed.charter
    output.line("root       ", Cell(record.operator, "name"))
    output.line(f"charter    {charter}  epoch {charter.epoch}, signed {charter.issued_at:%Y-%m-%d %H:%M} UTC")
    for key in charter.publish:
        output.line("publish    ", Cell(key, "name"))
    for key in charter.former:
        output.line("former     ", Cell(key))

    async def held() -> str:
        async with folder_fleet(folder) as fleet:
            return (await holding(fleet, charter.order)).sentence

    try:
        output.line(f"held       {invocation.run_async(held())}")
    except BusUnavailable as error:
        output.say(f"Who has it is not known: {error.sentence()}")
    return exit_codes.DONE


@command.group("rotate", short_help="another key in a key's place, with overlap")
def rotate_group() -> None:
    """
    \b
    fleetbus keys rotate publish --fleet-dir fleet --root-key root.seed
    fleetbus keys rotate authority --fleet-dir fleet --root-key root.seed
    """


@rotate_group.command("publish", short_help="the key that signs what clusters obey")
@FLEET_DIR
@_ROOT
@_TIMEOUT
@click.option("--force", is_flag=True, help="Do not wait for connected clusters that have not heard of it.")
@pass_invocation
def publish_command(
    invocation: Invocation, folder: Path, root_key: Path | None, timeout_s: float, force: bool
) -> int:
    """
    \b
    fleetbus keys rotate publish --fleet-dir fleet --root-key root.seed

    The root names a new key beside the present one; once every connected cluster has heard that, the controller takes
    it, without a restart; then the former one is named no more. A cluster that is away hears of it when it comes back.
    Interrupted, it goes on when it is run again.
    """
    changing = _changing(invocation, folder, root_key, timeout_s, forced=force)
    key = invocation.run_async(rotate(changing))
    invocation.output.line(f"publish/{key} is ", Cell("in use", "good"))
    return exit_codes.DONE


@rotate_group.command("authority", short_help="the authority of the bus's servers")
@FLEET_DIR
@_ROOT
@_TIMEOUT
@click.option("--force", is_flag=True, help="Do not wait for connected clusters that have not heard of it.")
@_VAULT_TOKEN
@pass_invocation
def authority_command(
    invocation: Invocation,
    folder: Path,
    root_key: Path | None,
    timeout_s: float,
    force: bool,
    vault_token_file: Path | None,
) -> int:
    """
    \b
    fleetbus keys rotate authority --fleet-dir fleet --root-key root.seed

    The root names the next authority beside the present one; once every connected cluster has heard that, the servers
    get certificates of it and read them, and no connection ends. The former authority vouches for it, so a cluster
    that was away still believes the servers. With several servers it stops where their folders have to be copied, and
    goes on when it is run again.
    """
    changing = _changing(invocation, folder, root_key, timeout_s, forced=force)
    invocation.run_async(rotate_authority(changing, vault_token_file))
    invocation.output.line("the new authority is ", Cell("in use", "good"))
    return exit_codes.DONE


@command.command("raise-epoch", short_help="after a restore or a theft: a new key alone, above all that was")
@FLEET_DIR
@_ROOT
@_TIMEOUT
@click.option("--to", "at_least", type=click.IntRange(1), default=1, help="At least this epoch.")
@_VAULT_TOKEN
@click.option("--no-wait", is_flag=True, help="Do not wait for the controller, as none runs yet.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def raise_epoch_command(
    invocation: Invocation,
    folder: Path,
    root_key: Path | None,
    timeout_s: float,
    at_least: int,
    vault_token_file: Path | None,
    no_wait: bool,
    yes: bool,
) -> int:
    """
    \b
    fleetbus keys raise-epoch --fleet-dir fleet --root-key root.seed
    fleetbus keys raise-epoch --fleet-dir fleet --root-key root.seed --no-wait

    For a controller that was restored from a backup, or whose key somebody else may have: clusters obey the new key
    alone, with lower serials too, and nothing of the former epoch. The controller's credential on the bus becomes
    another. Start the controller from this folder; once it has signed anew what it has stored, run the same again with
    --no-wait left out, and the former key counts nowhere. Until then --to with a higher epoch raises it once more, as
    when the bus knows of a later one than the backup.
    """
    record = read_record(folder)
    changing = _changing(invocation, folder, root_key, timeout_s)
    if is_prepared(folder) or not is_raised(record, at_least):
        consequence = f"what the fleet {record.fleet} was told with the present key is obeyed no more."
        confirm(invocation, consequence, record.fleet, yes=yes)
        record = invocation.run_async(raise_epoch(changing, at_least, vault_token_file))
    elif no_wait:
        invocation.run_async(tell_bus(changing))
    if no_wait:
        invocation.output.say("Next: ", Cell(f"fleetbus keys raise-epoch --fleet-dir {folder}", "command"))
        return exit_codes.DONE
    invocation.run_async(finish(changing))
    invocation.output.line(f"epoch {record.epoch} is ", Cell("in use", "good"))
    return exit_codes.DONE


def _changing(
    invocation: Invocation, folder: Path, root_key: Path | None, timeout_s: float, *, forced: bool = False
) -> Changing:
    return Changing(
        folder, root_key, lambda: folder_fleet(folder), timeout_s, forced, SystemClock(), invocation.output
    )


@asynccontextmanager
async def folder_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """The fleet as its first operator, whose credential is in the folder. Raises NotFound, BusUnavailable."""
    from fleetbus.cli.ceremony.handing import context
    from fleetbus.client import connect

    record = read_record(folder)
    name = _operator(record)
    own = context(folder, record, record.fleet, name, person_file(folder, record, name))
    async with connect(own) as fleet:
        yield fleet


def _operator(record: FleetRecord) -> str:
    for one in record.people:
        if one.kind == "operator":
            return one.name
    raise NotFound("the fleet has no operator", remedy="fleetbus operator create NAME --role viewer")
