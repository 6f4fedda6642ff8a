"""What the command's exit codes mean, and which error ends with which: the one table."""

from __future__ import annotations

from typing import Final

from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotPermitted, TimeoutExpired

DONE: Final = 0
FAILED: Final = 1
DIFFERENT: Final = 2
UNCHANGED: Final = 3
USAGE: Final = 64
UNAVAILABLE: Final = 69
NOT_PERMITTED: Final = 77
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130

NO_CONTEXT: Final = "FB5002"
"""As `fleetbus.client` names it, which is not imported here: `--help` reads this module."""

MEANINGS: tuple[tuple[int, str], ...] = (
    (DONE, "done"),
    (FAILED, "failed: refused, not found, invalid, a cluster in error, something that ended failed"),
    (DIFFERENT, "kept for commands that compare: there are differences"),
    (UNCHANGED, "nothing changed, when --error-unchanged asked for it"),
    (USAGE, "wrong usage: an unknown command or option, a confirmation that was not given"),
    (UNAVAILABLE, "the bus or the controller cannot be reached"),
    (NOT_PERMITTED, "no context, or not permitted; the message says which"),
    (TIMED_OUT, "--timeout ran out and it is still going"),
    (INTERRUPTED, "Ctrl-C; what was started in the fleet goes on"),
)


def code_of(error: FleetbusError) -> int:
    """The exit code with which a command ends that this error ended."""
    if isinstance(error, BusUnavailable):
        return UNAVAILABLE
    if isinstance(error, NotPermitted) or error.error_code == NO_CONTEXT:
        return NOT_PERMITTED
    if isinstance(error, TimeoutExpired):
        return TIMED_OUT
    return FAILED
