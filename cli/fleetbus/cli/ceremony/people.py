"""The people of a fleet: who they are to be, and what it takes that somebody's role becomes another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.folder import forget_credential
from fleetbus.cli.ceremony.record import FleetRecord, Person
from fleetbus.schemas.accounts import OPERATORS, SUBSCRIBER
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.roles import ADMIN, SUBSCRIBER_OF_TYPES

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
        types = plan.types.get(name, ())
        new = Person(name=name, nkey="", role=SUBSCRIBER_OF_TYPES if types else SUBSCRIBER, types=types)
        there = people.get(new.file, new)
        change = {"role": new.role, "types": types} if types else {}
        people[new.file] = there.model_copy(update=change)
    return tuple(people[file] for file in sorted(people))


def without_other_roles(
    folder: Path, people: Sequence[Person], known: FleetRecord, now: datetime
) -> FleetRecord:
    """Who is to have another role or other types than so far has a token that says those: its key is revoked."""
    wanted = {one.file: (one.role, one.types) for one in people}
    changed = [one for one in known.people if wanted.get(one.file) != (one.role, one.types)]
    for one in changed:
        forget_credential(folder, one.file)
    now_s = int(now.timestamp())
    return known.with_revoked(OPERATORS, [one.nkey for one in changed], now_s, now_s)
