"""`fleetbus operator remove` and `fleetbus subscriber remove`: somebody's credential counts no more."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli.ceremony.expelling import Expelling
from fleetbus.cli.ceremony.people import person_named
from fleetbus.cli.ceremony.reaching import reaching
from fleetbus.cli.ceremony.record import Person, read_record
from fleetbus.cli.ceremony.steps import Taken, take
from fleetbus.cli.confirm import confirm
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.options import FLEET_DIR, YES, given
from fleetbus.cli.owning import owning
from fleetbus.cli.steps_taken import again, concluded, report
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import NotPossible, SettingsInvalid
from fleetbus.schemas.people import PersonKind

_removing = given(
    click.argument("name"),
    FLEET_DIR,
    click.option(
        "--vault-token-file",
        "token_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --signing vault-transit; or set VAULT_TOKEN.",
    ),
    click.option("--reason", default="", help="Kept in the audit record."),
    YES,
)


@click.command("remove", short_help="shut somebody out: the key counts no more")
@_removing
@pass_invocation
def operator_command(
    invocation: Invocation, name: str, folder: Path, token_file: Path | None, reason: str, yes: bool
) -> int:
    """
    \b
    fleetbus operator remove ana --fleet-dir fleet --reason "left the company"

    Every server of the bus closes her connections and refuses her key, for ever; what she did stays in the audit. By
    `operator create` she gets another key.
    """
    return _remove(invocation, "operator", name, folder, token_file, reason, yes=yes)


@click.command("remove", short_help="shut a team out: the key counts no more")
@_removing
@pass_invocation
def subscriber_command(
    invocation: Invocation, name: str, folder: Path, token_file: Path | None, reason: str, yes: bool
) -> int:
    """
    \b
    fleetbus subscriber remove payments --fleet-dir fleet

    Every server of the bus closes its connections and refuses its key, for ever. By `subscriber create` the team gets
    another key.
    """
    return _remove(invocation, "subscriber", name, folder, token_file, reason, yes=yes)


def _remove(
    invocation: Invocation,
    kind: PersonKind,
    name: str,
    folder: Path,
    token_file: Path | None,
    reason: str,
    *,
    yes: bool,
) -> int:
    person = person_named(read_record(folder), kind, name)
    _not_oneself(invocation, person)
    confirm(invocation, f"removes the {kind} {name}; the key counts no more.", name, yes=yes)
    taken = invocation.run_async(_taken(invocation, person, folder, token_file, reason))
    command = again(
        *(kind, "remove", name),
        fleet_dir=folder,
        vault_token_file=token_file,
        reason=reason,
        context=invocation.context,
    )
    return concluded(taken, f"{kind}/{name} removed", command, invocation.output)


def _not_oneself(invocation: Invocation, person: Person) -> None:
    """Who asks the controller must still be somebody when it is told. Raises NotPossible."""
    from fleetbus.client import load_context

    try:
        asking = load_context(invocation.context).credential().nkey
    except SettingsInvalid:
        return  # Then nobody asks: the step that needs it says what is wrong.
    if asking == person.nkey:
        raise NotPossible(
            f"{person.name} is who speaks here", remedy="take another admin's context: --context NAME"
        )


async def _taken(
    invocation: Invocation, person: Person, folder: Path, token_file: Path | None, reason: str
) -> tuple[Taken, ...]:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    async with reaching(invocation.fleet()) as fleet, owning(folder, token_file, clock) as owned:
        assert owned is not None
        steps = Expelling(person, reason, clock, fleet, owned).steps()
        return await take(steps, clock, began_s, report(invocation.output))
