"""What `fleetbus operator` and `fleetbus subscriber` share: make people, tell the bus, hand a credential over."""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony.folder import authority_file, credential_file, read_token
from fleetbus.cli.ceremony.handing import context
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import Person, read_record
from fleetbus.cli.ceremony.servers import signing_keys
from fleetbus.cli.output import Output
from fleetbus.client.context import load_contexts, save_context
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.accounts import OPERATORS


async def make_people(folder: Path, plan: FleetPlan, token_file: Path | None, output: Output) -> None:
    """Their credentials; the bus is told when their account has changed. Raises BusUnavailable after the rest."""
    known, clock = read_record(folder), SystemClock()
    before = read_token(folder, OPERATORS)
    async with signing_keys(folder, known.fleet, known.signing, known.vault, token_file) as keys:
        await make_fleet(folder, plan, keys, clock.now(), output.line)
    if read_token(folder, OPERATORS) != before:
        await push_accounts(folder, (OPERATORS,), clock)
        output.line(f"bus told of {OPERATORS}")


def hand_over(folder: Path, person: Person, name: str, output: Output) -> None:
    """Say where the credential is; with `name` write a context of this name, without making it the current one."""
    file = credential_file(folder, person.file).absolute()
    record = read_record(folder)
    if not name:
        beside = "" if record.insecure_dev else f"; it goes with {authority_file(folder).absolute()}"
        output.note(f"Credential: {file}{beside}")
        return
    made = context(folder, record, name, person.name, file)
    if made not in load_contexts().contexts:
        save_context(made, current=False)
        output.line(f"context {name} written")
