"""From the list of commands, the journal and the time: what to start, look at, abort, end and forget. Pure.

Strictly in list order, one at a time, whatever the driver: the next one starts when the one before has ended.
A deadline is for starting; what runs goes on past it until it ends or is cancelled.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetbus.agent.capabilities.commands import journal as journals
from fleetbus.agent.capabilities.commands.journal import Entry, Journal
from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.desired import Command
from fleetbus.schemas.states import CommandResult

_ID = re.compile(r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class Forget:
    """Entries whose commands have left the list."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Commands that end without ever having started."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """See where a started command stands."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Abort:
    """See where it stands, and take its effect away if it has not ended."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Resume:
    """Journaled as started, its effect never seen: find it by its id, and only if there is none, start it.

    `command` is None when it must not start any more; `because` then says why, with the phase. With neither it is
    looked for only: nothing is known of the list, and without it nothing may be judged.
    """

    entry: Entry
    command: Command | None
    because: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Start:
    command: Command


Step = Forget | End | Look | Abort | Resume | Start


def plan(
    told: Sequence[Command] | None,
    journal: Journal,
    now: datetime,
    *,
    drivers: Collection[str],
    halted: bool = False,
    unapproved: Collection[str] = (),
) -> tuple[Step, ...]:
    """The steps to take now, in order. `told` is None while nothing is known of the list.

    Nothing in it starts twice: a command with an entry never gives a Start. One that is `unapproved` (by id) does
    not either, and those after it wait for it as for any other.
    """
    listed = _in_order(told)
    commands = {command.id: command for command in listed}
    steps: list[Step] = []
    gone = tuple(id_ for id_, entry in journal.items() if entry.finished and id_ not in commands)
    if told is not None and gone:
        steps.append(Forget(gone))
    waiting = [command for command in listed if command.id not in journal]
    ended = tuple(entry for command in waiting if (entry := _ended(command, drivers, now)) is not None)
    if ended:
        steps.append(End(ended))
    running = [entry for entry in journal.values() if not entry.finished]
    steps += [
        Resume(entry, None)
        if told is None and not entry.effected
        else _running(entry, commands.get(entry.id), now)
        for entry in running
    ]
    done = {entry.id for entry in ended}
    following = next((command for command in waiting if command.id not in done), None)
    if following is not None and not running and not halted and following.id not in unapproved:
        steps.append(Start(following))
    return tuple(steps)


def _in_order(told: Sequence[Command] | None) -> list[Command]:
    """The list; of an id that is given twice only the first counts."""
    first: dict[str, Command] = {}
    for command in told or ():
        first.setdefault(command.id, command)
    return list(first.values())


def _ended(command: Command, drivers: Collection[str], now: datetime) -> Entry | None:
    """How a command ends that has not started; None while it may still start."""
    if command.cancelled:
        said = (schema.PHASE_CANCELLED, "it was cancelled before it started")
    elif now > command.deadline:
        said = (schema.PHASE_EXPIRED, _late(command))
    elif not _ID.fullmatch(command.id):
        said = (schema.PHASE_REFUSED, "id: it must be at most 52 lower-case letters, digits and `-`")
    elif command.driver not in drivers:
        known = ", ".join(sorted(drivers))
        said = (
            schema.PHASE_REFUSED,
            f"driver: this agent has no driver `{command.driver[:80]}`; it has {known}",
        )
    else:
        return None
    return journals.never_started(command, *said, now)


def _late(command: Command) -> str:
    return f"deadline: {command.deadline:%Y-%m-%dT%H:%M:%SZ} had passed before it could start; run it again"


def _running(entry: Entry, command: Command | None, now: datetime) -> Step:
    cancelled = command is not None and command.cancelled
    if entry.effected:
        return Abort(entry) if cancelled else Look(entry)
    if command is None:
        return Resume(entry, None, (schema.PHASE_FAILED, "it took no effect and has left the list"))
    if cancelled:
        return Resume(entry, None, (schema.PHASE_CANCELLED, "it was cancelled before it took effect"))
    if now > command.deadline:
        return Resume(entry, None, (schema.PHASE_EXPIRED, _late(command)))
    return Resume(entry, command)


def results(
    told: Sequence[Command] | None, journal: Journal, *, halted: bool, unapproved: Mapping[str, str]
) -> tuple[CommandResult, ...]:
    """Where every command of the list stands, in its order, and what still runs besides.

    `unapproved`: id → what is missing before it may start.
    """
    commands = _in_order(told)
    busy = [entry.id for entry in journal.values() if not entry.finished]
    found: list[CommandResult] = []
    for command in commands:
        entry = journal.get(command.id)
        if entry is None:
            found.append(_accepted(command, busy, halted, unapproved.get(command.id, "")))
            busy.append(command.id)
        else:
            found.append(entry.result)
    listed = {command.id for command in commands}
    left = [entry for entry in journal.values() if entry.id not in listed]
    return (*found, *(entry.result for entry in left if told is None or not entry.finished))


def _accepted(command: Command, busy: Sequence[str], halted: bool, missing: str) -> CommandResult:
    if missing:
        message = missing
    elif halted:
        message = "it waits: everything is halted"
    elif busy:
        message = f"it waits for command {busy[-1]}"
    else:
        message = "it is about to start"
    return CommandResult(id=command.id, driver=command.driver, phase=schema.PHASE_ACCEPTED, message=message)
