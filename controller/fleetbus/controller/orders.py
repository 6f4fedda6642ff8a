"""The list of a cluster's open commands: what an order adds, cancels, and when an entry may be forgotten. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from fleetbus.schemas.capabilities.commands import (
    DRIVERS,
    PHASE_ACCEPTED,
    PHASE_EXPIRED,
    CommandOrder,
    CommandRow,
)
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import DocumentInvalid, NotFound, NotPossible
from fleetbus.schemas.models import wrong_fields
from fleetbus.schemas.states import FINISHED, CommandResult, Results

KEPT_FOR = timedelta(hours=1)
MOST_LISTED = 50
PHASE_ISSUED = "Issued"
PHASE_CANCELLING = "Cancelling"
_UNHEARD = "its deadline passed before its cluster said that it starts"


def ordered(order: CommandOrder, identifier: str, now: datetime, by: str) -> Command:
    """The command that an order becomes. Raises DocumentInvalid for a driver or arguments that do not exist."""
    model = DRIVERS.get(order.driver)
    if model is None:
        raise DocumentInvalid(
            f"there is no driver `{order.driver[:40]}`",
            where="driver",
            remedy=f"take one of {', '.join(DRIVERS)}",
        )
    try:
        arguments = model.model_validate(order.arguments)
    except ValueError as error:
        raise DocumentInvalid(_first(error), where=f"arguments of driver {order.driver}") from error
    return Command(
        id=identifier,
        driver=order.driver,
        arguments=arguments.as_json(),
        issued_at=now,
        deadline=now + timedelta(seconds=order.deadline_s),
        issued_by=by,
        reason=order.reason,
    )


def _first(error: ValueError) -> str:
    return wrong_fields(error)[0] if isinstance(error, ValidationError) else str(error)


def added(
    commands: Sequence[Command], new: Command, results: Results | None, now: datetime
) -> tuple[Command, ...]:
    """The list with `new` at its end. Raises Refused when it is full of commands that are not finished."""
    kept = remaining(commands, results, now, room_for=1)
    if len(kept) >= MOST_LISTED:
        raise NotPossible(
            f"{len(kept)} commands of this cluster are open already", remedy="cancel some, or wait for them"
        )
    return (*kept, new)


def cancelled(commands: Sequence[Command], identifier: str, results: Results | None) -> tuple[Command, ...]:
    """The list with one entry cancelled. Raises NotFound, and Refused when it has finished already."""
    found = next((command for command in commands if command.id == identifier), None)
    if found is None:
        raise NotFound(f"there is no command `{identifier[:40]}`", remedy="see `fleetbus command list`")
    result = _by_id(results).get(identifier)
    if result is not None and result.phase in FINISHED:
        raise NotPossible(f"command {identifier} has ended already: {result.phase}")
    return tuple(
        command.model_copy(update={"cancelled": True}) if command.id == identifier else command
        for command in commands
    )


def remaining(
    commands: Sequence[Command], results: Results | None, now: datetime, *, room_for: int = 0
) -> tuple[Command, ...]:
    """Without what ended more than KEPT_FOR ago, and without the oldest ended ones beyond MOST_LISTED."""
    by_id = _by_id(results)
    ended = {command.id: _ended_at(command, by_id.get(command.id), now) for command in commands}
    kept = [command for command in commands if (at := ended[command.id]) is None or at + KEPT_FOR > now]
    excess = len(kept) + room_for - MOST_LISTED
    if excess > 0:
        oldest = [command.id for command in kept if ended[command.id] is not None][:excess]
        kept = [command for command in kept if command.id not in oldest]
    return tuple(kept)


def rows(
    cluster: str, commands: Sequence[Command], results: Results | None, now: datetime
) -> list[CommandRow]:
    """The list as an operator sees it, oldest first."""
    by_id = _by_id(results)
    return [_row(cluster, command, by_id.get(command.id), now) for command in commands]


def _row(cluster: str, command: Command, result: CommandResult | None, now: datetime) -> CommandRow:
    phase = _phase(command, result, now)
    unheard = phase == PHASE_EXPIRED and (result is None or result.phase != PHASE_EXPIRED)
    return CommandRow(
        id=command.id,
        cluster=cluster,
        driver=command.driver,
        phase=phase,
        progress_percent=result.progress_percent if result else 0,
        message=_UNHEARD if unheard else result.message if result else "",
        issued_at=command.issued_at.isoformat(),
        deadline=command.deadline.isoformat(),
        issued_by=command.issued_by,
        reason=command.reason,
        output=result.output if result else {},
    )


def _phase(command: Command, result: CommandResult | None, now: datetime) -> str:
    if result is not None and result.phase in FINISHED:
        return result.phase
    if command.cancelled:
        return PHASE_CANCELLING
    started = result is not None and result.phase != PHASE_ACCEPTED
    if not started and command.deadline < now:
        return PHASE_EXPIRED
    return result.phase if result else PHASE_ISSUED


def _ended_at(command: Command, result: CommandResult | None, now: datetime) -> datetime | None:
    """When it ended; None while it is open. Without a word from the cluster it is over at its deadline."""
    if result is None:
        return command.deadline if command.deadline < now else None
    if result.phase not in FINISHED:
        return None
    told = result.finished_at
    if told is None or told > now:
        # A clock that goes wrong, or a lie: neither may keep an entry for ever.
        return min(command.deadline, now)
    return told


def _by_id(results: Results | None) -> dict[str, CommandResult]:
    return {result.id: result for result in results.commands} if results else {}
