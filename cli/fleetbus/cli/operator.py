"""`fleetbus operator`: a credential for somebody who is to speak to the controller, with a role."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.people import person_named
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.credential_options import credential_options
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.people import hand_over, make_people
from fleetbus.cli.people_leave import operator_command as remove_command
from fleetbus.cli.table import Cell
from fleetbus.schemas.roles import MEANINGS, ROLES, OperatorRole, verbs_of

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group("operator")
def command() -> None:
    """
    \b
    fleetbus operator create ana --role viewer --fleet-dir fleet
    fleetbus operator list --fleet-dir fleet
    fleetbus operator remove ana --fleet-dir fleet
    fleetbus operator roles
    """


command.add_command(remove_command)


@command.command("create", short_help="add somebody, or give somebody another role")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="See `fleetbus operator roles`.")
@credential_options
@pass_invocation
def create_command(
    invocation: Invocation,
    name: str,
    role: OperatorRole,
    folder: Path,
    context: str,
    vault_token_file: Path | None,
) -> int:
    """
    \b
    fleetbus operator create ana --role viewer --fleet-dir fleet
    fleetbus operator create ana --role approver --fleet-dir fleet --save-context prod-ana

    Writes keys/operator-NAME.creds, which is all that she needs besides ca.crt. Run twice it changes nothing; with
    another role she gets another key, and the one that she had counts no more.
    """
    plan = FleetPlan(read_record(folder).fleet, operators=(name,), roles={name: role})
    invocation.run_async(make_people(folder, plan, vault_token_file, invocation.output))
    person = person_named(read_record(folder), "operator", name)
    invocation.output.line(f"operator/{name} is ", Cell(role, "good"))
    hand_over(folder, person, context, invocation.output)
    return exit_codes.DONE


@command.command("list", short_help="who has which role")
@click.option("--fleet-dir", "folder", type=_FOLDER, envvar="FLEETBUS_FLEET_DIR", required=True)
@pass_invocation
def list_command(invocation: Invocation, folder: Path) -> int:
    """
    \b
    fleetbus operator list --fleet-dir fleet
    """
    people = [one for one in read_record(folder).people if one.kind == "operator"]
    rows = [[Cell(one.name, "name"), Cell(one.role), Cell(one.nkey)] for one in people]
    invocation.output.table(["NAME", "ROLE", "KEY"], rows)
    return exit_codes.DONE


@command.command("roles", short_help="what each role may do")
@pass_invocation
def roles_command(invocation: Invocation) -> int:
    """
    \b
    fleetbus operator roles

    Each role may do all that the one above it may.
    """
    before: tuple[str, ...] = ()
    rows: list[list[Cell]] = []
    for role in ROLES:
        verbs = [verb for verb in verbs_of(role) if verb not in before]
        rows.append([Cell(role, "name"), Cell(",".join(verbs)), Cell(MEANINGS[role])])
        before = verbs_of(role)
    invocation.output.table(["ROLE", "VERBS", "MEANING"], rows)
    return exit_codes.DONE
