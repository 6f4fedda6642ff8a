"""`fleetbus subscriber`: a credential for a team that only reads events, all or those of some types."""

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
from fleetbus.cli.people_leave import subscriber_command as remove_command
from fleetbus.cli.table import Cell

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group("subscriber")
def command() -> None:
    """
    \b
    fleetbus subscriber create payments --types 'bundle.*' --types secret.synced --fleet-dir fleet
    fleetbus subscriber list --fleet-dir fleet
    fleetbus subscriber remove payments --fleet-dir fleet
    """


command.add_command(remove_command)


@command.command("create", short_help="add a team, or give it other types")
@click.argument("name")
@click.option(
    "--types",
    multiple=True,
    metavar="PATTERN",
    help="`bundle.*` or `bundle.applied`; without it all of them.",
)
@credential_options
@pass_invocation
def create_command(
    invocation: Invocation,
    name: str,
    types: tuple[str, ...],
    folder: Path,
    context: str,
    vault_token_file: Path | None,
) -> int:
    """
    \b
    fleetbus subscriber create payments --types 'bundle.*' --fleet-dir fleet
    fleetbus subscriber create payments --types 'secret.*' --fleet-dir fleet

    With types the credential hears and reads events of those and nothing else; it resumes through the controller. Run
    twice it changes nothing; with other types the team gets another key, and the one that it had counts no more.
    """
    plan = FleetPlan(
        read_record(folder).fleet,
        subscribers=(name,),
        types={name: tuple(dict.fromkeys(types))} if types else {},
    )
    invocation.run_async(make_people(folder, plan, vault_token_file, invocation.output))
    person = person_named(read_record(folder), "subscriber", name)
    told = ", ".join(person.types) or "every event"
    invocation.output.line(f"subscriber/{name} reads ", Cell(told, "good"))
    hand_over(folder, person, context, invocation.output)
    return exit_codes.DONE


@command.command("list", short_help="who reads which events")
@click.option("--fleet-dir", "folder", type=_FOLDER, envvar="FLEETBUS_FLEET_DIR", required=True)
@pass_invocation
def list_command(invocation: Invocation, folder: Path) -> int:
    """
    \b
    fleetbus subscriber list --fleet-dir fleet
    """
    people = [one for one in read_record(folder).people if one.kind == "subscriber"]
    rows = [[Cell(one.name, "name"), Cell(",".join(one.types) or "*"), Cell(one.nkey)] for one in people]
    invocation.output.table(["NAME", "TYPES", "KEY"], rows)
    return exit_codes.DONE
