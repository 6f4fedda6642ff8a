"""`fleetbus approver`: a key for somebody who is to approve what protected clusters are told."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.approver_keys import KEY_HELP, approver_key
from fleetbus.cli.invocation import Invocation, pass_invocation

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("approver")
def command() -> None:
    """
    \b
    fleetbus approver create ana --key ana.seed
    fleetbus approver create ben --key agent:ben@laptop
    fleetbus approver create cyd --key vault-transit:transit/cyd
    """


@command.command("create", short_help="make a key, or find it, and print how a cluster names it")
@click.argument("name")
@click.option("--key", "given", required=True, metavar="KEY", help=KEY_HELP)
@click.option("--vault-token-file", type=_FILE, help="For vault-transit; or set VAULT_TOKEN.")
@pass_invocation
def create_command(invocation: Invocation, name: str, given: str, vault_token_file: Path | None) -> int:
    """
    \b
    fleetbus approver create ana --key ana.seed
    fleetbus approver create ben --key agent:ben@laptop

    Prints the line that a cluster's owner adds to `approvers` of the Protection `fleetbus` in the namespace
    fleetbus-system. A file, or a key of Vault's, that is not there is made; run twice it changes nothing.
    """

    async def public_key() -> str:
        async with approver_key(given, vault_token_file, make=True) as key:
            return key.public_key

    invocation.output.line(f"- {{name: {name}, key: {invocation.run_async(public_key())}}}")
    return exit_codes.DONE
