"""The people of a fleet: who they are to be, and what it takes that somebody's role becomes another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.folder import credential_file
from fleetbus.cli.ceremony.record import FleetRecord, Person
from fleetbus.schemas.accounts import OPERATORS, SUBSCRIBER
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.roles import ADMIN

if TYPE_CHECKING:
    from fleetbus.cli.ceremony.init import FleetPlan


def person_named(record: FleetRecord, kind: str, name: str) -> Person:
    """Raises NotFound."""
    for one in record.people:
        if (one.kind, one.name) == (kind, name):
            return one
    raise NotFound(f"the fleet has no {kind} named `{name}`")


def wanted_people(plan: FleetPlan, known: FleetRecord | None) -> tuple[Person, ...]:
    """Those whom the fleet has and those whom the plan adds, ordered by file; who is new has no key yet."""
    people = {one.file: one for one in (known.people if known else ())}
    for name in plan.operators:
        new = Person(name=name, nkey="", role=plan.roles.get(name, ADMIN))
        there = people.get(new.file, new)
        people[new.file] = there.model_copy(update={"role": plan.roles.get(name, there.role)})
    for name in plan.subscribers:
        new = Person(name=name, nkey="", role=SUBSCRIBER)
        people.setdefault(new.file, new)
    return tuple(people[file] for file in sorted(people))


def without_other_roles(
    folder: Path, people: Sequence[Person], known: FleetRecord, now: datetime
) -> FleetRecord:
    """Who is to have another role than so far has a token that says the old one: its key is dropped and revoked."""
    roles = {one.file: one.role for one in people}
    changed = [one for one in known.people if roles.get(one.file) != one.role]
    for one in changed:
        credential_file(folder, one.file).unlink(missing_ok=True)
    return known.with_revoked(OPERATORS, [one.nkey for one in changed], int(now.timestamp()))
