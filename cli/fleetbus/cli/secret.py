"""`fleetbus secret`: take a secret back with proof; let a group of clusters share one."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.options import FLEET_DIR
from fleetbus.cli.receipts import revoke
from fleetbus.cli.text import counted

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("secret")
def command() -> None:
    """
    \b
    fleetbus secret revoke payments-db --reason INC-4711
    fleetbus secret share payments-ca --fleet-dir fleet
    """


@command.command("revoke", short_help="take a secret back, with receipts")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="10s", show_default=True, help="For the receipts."
)
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text")
@pass_invocation
def revoke_command(
    invocation: Invocation, name: str, reason: str, yes: bool, timeout_s: float, form: str
) -> int:
    """
    \b
    fleetbus secret revoke payments-db --reason INC-4711
    fleetbus secret revoke payments-db --yes --timeout 1m

    Vault refuses first, then the clusters remove the Secret, then each proves it by a read of its apiserver.
    Ends with 0 when all have proved it, with 124 when some are still to come, with 1 when one failed.
    No apply takes it back: to bind it again, delete the SecretBinding and apply it anew.
    """
    name = name.removeprefix("secretbinding/").removeprefix("sb/")
    found = invocation.run(lambda fleet: fleet.describe("SecretBinding", name)).document
    placed = view.texts(view.details(found).get("placed"))
    target = view.spec(found).get("target") or {}
    consequence = (
        f"revokes Secret {target.get('namespace')}/{target.get('name')} in {counted(len(placed), 'cluster')}."
        " It can't be undone."
    )
    confirm(invocation, consequence, name, yes=yes)
    return invocation.run(lambda fleet: revoke(fleet, name, reason, timeout_s, form, invocation.output))


@command.command("share", short_help="let a group of clusters share a secret")
@click.argument("name")
@FLEET_DIR
@click.option("--vault-token-file", type=_FILE, help="Vault's owner's token; or set VAULT_TOKEN.")
@pass_invocation
def share_command(invocation: Invocation, name: str, folder: Path, vault_token_file: Path | None) -> int:
    """
    \b
    fleetbus secret share payments-ca --fleet-dir fleet
    bao kv put secret/shared/payments-ca ca.crt=@ca.crt

    Makes the group of a shared secret in Vault, with a policy that reads it. The controller says which clusters are
    in the group; only Vault's owner says what a group reads.
    """
    from fleetbus.cli.ceremony.record import read_record
    from fleetbus.cli.ceremony.servers import vault_admin
    from fleetbus.cli.ceremony.share import share
    from fleetbus.schemas.errors import SettingsInvalid
    from fleetbus.schemas.vault_policies import KV_MOUNT

    place = read_record(folder).vault
    if place is None:
        raise SettingsInvalid(
            "the fleet has no Vault", where=str(folder), remedy="run `fleetbus init` with --vault-address"
        )

    async def run() -> str:
        ca_file = folder / "vault-ca.crt" if place.ca else None
        async with vault_admin(place, vault_token_file, ca_file) as vault:
            return await share(name, vault)

    path = invocation.run_async(run())
    invocation.output.line(f"secret/{name} shared: write its value to {KV_MOUNT}/{path}")
    return exit_codes.DONE
