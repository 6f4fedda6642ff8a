"""`fleetbus cluster`: who is let into the fleet, and who leaves it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.ceremony.leave import leave_bus, leave_vault
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.ceremony.servers import signing_keys, vault_admin
from fleetbus.cli.cluster_join import command as join_command
from fleetbus.cli.cluster_vault import command as vault_command
from fleetbus.cli.confirm import confirm
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.enrolment_api import ApproveRequest, EnrolmentRow
from fleetbus.schemas.subjects import MAIN, ClusterId

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.schemas.api import Accepted

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("cluster")
def command() -> None:
    """
    \b
    fleetbus cluster join prod-us --label env=prod -o manifest --image IMAGE | kubectl apply -f -
    fleetbus cluster remove prod-us --fleet-dir fleet
    """


command.add_command(join_command)
command.add_command(vault_command)


@command.command("pending", short_help="open tokens, who waits, and who claims another's name")
@pass_invocation
def pending_command(invocation: Invocation) -> int:
    """
    \b
    fleetbus cluster pending
    """
    rows = invocation.run(lambda fleet: fleet.enrolments()).rows
    output = invocation.output
    if not rows:
        output.say("No token is open, and nobody waits.")
        return exit_codes.DONE
    output.table(
        ("NAME", "REALM", "STANDING", "KUBE-SYSTEM", "KEY", "UNTIL", "WHY"),
        [_pending_row(row) for row in rows],
    )
    return exit_codes.DONE


def _pending_row(row: EnrolmentRow) -> list[Cell]:
    until = f"{row.expires_at:%m-%d %H:%M}" if row.expires_at else NONE
    texts = (row.name, row.realm, row.outcome, row.uid or NONE, row.nkey or NONE, until, row.message)
    return [Cell(text) for text in texts]


@command.command("approve", short_help="let the cluster in that waits under a name")
@click.argument("name")
@click.option("--key", default="", help="Only if the one that waits has this public key.")
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def approve_command(invocation: Invocation, name: str, key: str, reason: str) -> int:
    """
    \b
    fleetbus cluster pending
    fleetbus cluster approve prod-us --key UAB…
    """
    asked = ApproveRequest(name=name, nkey=key, reason=reason)
    answer = invocation.run(lambda fleet: fleet.approve(asked))
    invocation.output.line(f"cluster/{name} {answer.message}")
    return exit_codes.DONE


@command.command("dismiss", short_help="turn away who waits for a name, or claims it")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def dismiss_command(invocation: Invocation, name: str, reason: str) -> int:
    """
    \b
    fleetbus cluster dismiss prod-us --reason "a restored backup, switched off"

    Its open tokens are withdrawn. Who has the name keeps it.
    """
    asked = ApproveRequest(name=name, dismiss=True, reason=reason)
    answer = invocation.run(lambda fleet: fleet.approve(asked))
    invocation.output.line(f"cluster/{name} {answer.message}")
    return exit_codes.DONE


@command.command("remove", short_help="take a cluster out of the fleet")
@click.argument("name")
@click.option(
    "--fleet-dir",
    "folder",
    type=_FOLDER,
    envvar="FLEETBUS_FLEET_DIR",
    help="Also take its user from the bus and its mount from Vault; or set FLEETBUS_FLEET_DIR.",
)
@click.option("--realm", default=MAIN, show_default=True)
@click.option("--vault-token-file", type=_FILE, help="Vault's owner's token; or set VAULT_TOKEN.")
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def remove_command(
    invocation: Invocation,
    name: str,
    folder: Path | None,
    realm: str,
    vault_token_file: Path | None,
    reason: str,
    yes: bool,
) -> int:
    """
    \b
    fleetbus cluster remove prod-us --fleet-dir fleet
    fleetbus cluster remove prod-us --fleet-dir fleet --yes --reason "moved to another fleet"

    What the fleet has put into the cluster stays there; nobody looks after it any more.
    """
    cluster = ClusterId(realm, name)
    confirm(invocation, f"removes cluster {name} from the fleet; its workloads stay.", name, yes=yes)
    output = invocation.output
    nkey, answer = invocation.run(lambda fleet: _removed(fleet, name, reason))
    output.line(f"cluster/{name} removed{f': {answer.message}' if answer.message else ''}")
    if folder is None:
        output.say(
            "Its user on the bus and its mount in Vault are still there: give --fleet-dir to remove them."
        )
        return exit_codes.DONE
    invocation.run_async(_leave(cluster, nkey, folder, vault_token_file, output))
    return exit_codes.DONE


async def _removed(fleet: Fleet, name: str, reason: str) -> tuple[str, Accepted]:
    """Its public key, which nobody knows any more afterwards."""
    rows = (await fleet.list("Cluster", names=(name,))).rows
    nkey = str(view.spec(rows[0].document).get("key") or "") if rows else ""
    return nkey, await fleet.remove(name, reason=reason)


async def _leave(
    cluster: ClusterId, nkey: str, folder: Path, token_file: Path | None, output: Output
) -> None:
    record, clock = read_record(folder), SystemClock()
    place = record.vault
    async with signing_keys(folder, record.fleet, record.signing, place, token_file) as keys:
        push = partial(push_accounts, folder, clock=clock)
        await leave_bus(cluster, nkey, folder, keys, clock.now(), push, output.line)
    if place is not None:
        ca_file = folder / "vault-ca.crt" if place.ca else None
        async with vault_admin(place, token_file, ca_file) as vault:
            await leave_vault(cluster, vault, output.line)
