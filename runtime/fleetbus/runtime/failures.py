"""What an error says and where it was raised, also one inside groups of groups, as a TaskGroup raises them. Pure."""

from __future__ import annotations

from fleetbus.runtime.foreign_text import MAX_MESSAGE, cleaned
from fleetbus.schemas.errors import FleetbusError

_FRAMES = 4


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in groups of groups, in order; of what is no group, itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one)]


def first_leaf(error: BaseException) -> BaseException:
    """The first of them: what is raised in a group's place."""
    return leaves(error)[0]


def known_leaf(error: BaseException) -> FleetbusError | None:
    """The first of them when all are of our tree; None when one is not."""
    found = leaves(error)
    first = found[0]
    return (
        first
        if isinstance(first, FleetbusError) and all(isinstance(one, FleetbusError) for one in found)
        else None
    )


def described(error: BaseException, limit: int = MAX_MESSAGE) -> str:
    """An error in one printable line. Of one that is not ours only the type: its text may hold anything."""
    return cleaned(error.sentence(), limit) if isinstance(error, FleetbusError) else type(error).__name__


def raised_at(error: BaseException) -> str:
    """File and line of the innermost frames: enough to find a mistake, and no value in it."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-_FRAMES:]))
