"""`fleetbus cluster revoke` and `retire`: a cluster leaves the fleet, and is seen to be refused on each side."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli.ceremony.parting import Parting
from fleetbus.cli.ceremony.reaching import reaching
from fleetbus.cli.ceremony.steps import Taken, take
from fleetbus.cli.confirm import confirm
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.options import YES, given
from fleetbus.cli.owning import owning
from fleetbus.cli.steps_taken import again, concluded, report
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.enrolment_api import RetireRequest

_leaving = given(
    click.argument("name"),
    click.option(
        "--fleet-dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="FLEETBUS_FLEET_DIR",
        help="The folder that `fleetbus init` made, for the bus and Vault; or set FLEETBUS_FLEET_DIR.",
    ),
    click.option("--realm", default="", help="Only if it is in this realm."),
    click.option(
        "--vault-token-file",
        "token_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Vault's owner's token; or set VAULT_TOKEN.",
    ),
    click.option("--reason", default="", help="Kept in the audit record and in the event."),
    YES,
)


@click.command("revoke", short_help="shut a cluster out now: its keys count no more")
@click.option(
    "--keep/--purge",
    "keep",
    default=True,
    help="Keep its document, mailboxes and states (the default), or delete them.",
)
@_leaving
@pass_invocation
def revoke_command(
    invocation: Invocation,
    name: str,
    keep: bool,
    folder: Path | None,
    realm: str,
    token_file: Path | None,
    reason: str,
    yes: bool,
) -> int:
    """
    \b
    fleetbus cluster revoke prod-us --fleet-dir fleet --reason INC-4711
    fleetbus cluster revoke prod-us --fleet-dir fleet --purge --yes

    Vault refuses it, every server of the bus closes its connections, and its keys count no more, for ever. What runs in
    it goes on running. It comes back with a new token and a new key: fleetbus cluster join NAME.
    """
    asked = RetireRequest(name=name, realm=realm, left="revoked", purge=not keep, reason=reason)
    return _leave(invocation, asked, folder, token_file, yes=yes)


@click.command("retire", short_help="let a cluster go that leaves in peace, or is gone already")
@click.option(
    "--keep/--purge",
    "keep",
    default=None,
    help="Keep its document, mailboxes and states, or delete them.",
)
@_leaving
@pass_invocation
def retire_command(
    invocation: Invocation,
    name: str,
    keep: bool | None,
    folder: Path | None,
    realm: str,
    token_file: Path | None,
    reason: str,
    yes: bool,
) -> int:
    """
    \b
    fleetbus cluster retire prod-us --purge --fleet-dir fleet
    fleetbus cluster retire prod-us --keep --fleet-dir fleet --yes --reason "moved to another fleet"

    Its agent is not asked, so it may be switched off. Its workloads stay, also when it comes back: it is refused, and
    leaves everything as it is. It joins again with a new token: fleetbus cluster join NAME.
    """
    if keep is None:
        raise click.UsageError("Say --keep or --purge: what becomes of its document, mailboxes and states.")
    asked = RetireRequest(name=name, realm=realm, left="retired", purge=not keep, reason=reason)
    return _leave(invocation, asked, folder, token_file, yes=yes)


def _leave(
    invocation: Invocation, asked: RetireRequest, folder: Path | None, token_file: Path | None, *, yes: bool
) -> int:
    verb = "revoke" if asked.left == "revoked" else "retire"
    what = " and deletes what is known of it" if asked.purge else ""
    confirm(invocation, f"{verb}s cluster {asked.name}{what}; its workloads stay.", asked.name, yes=yes)
    taken = invocation.run_async(_taken(invocation, asked, folder, token_file))
    command = again(
        *("cluster", verb, asked.name, "--purge" if asked.purge else "--keep"),
        fleet_dir=folder,
        realm=asked.realm,
        vault_token_file=token_file,
        reason=asked.reason,
        context=invocation.context,
    )
    but = "Before it joins again: afterwards that would shut out the new member."
    return concluded(taken, f"cluster/{asked.name} {asked.left}", command, invocation.output, but)


async def _taken(
    invocation: Invocation, asked: RetireRequest, folder: Path | None, token_file: Path | None
) -> tuple[Taken, ...]:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    async with reaching(invocation.fleet()) as fleet, owning(folder, token_file, clock) as owned:
        steps = Parting(asked, clock, fleet, owned).steps()
        return await take(steps, clock, began_s, report(invocation.output))
