"""How an error reaches an operator: what, where, what to do; never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.schemas.errors import FleetbusError


def print_error(error: FleetbusError, output: Output) -> None:
    """In the form of every error of the command."""
    output.say(Cell(f"error[{error.error_code}]", "bad"), ": ", Cell(error.message, "name"))
    if error.where:
        output.say(Cell("  --> ", "number"), error.where)
    if error.remedy:
        output.say(Cell("   = ", "number"), Cell("help", "command"), ": ", error.remedy)
    if error.error_code != FleetbusError.code:
        more = Cell(f"fleetbus explain {error.error_code}", "command")
        output.say(Cell("   = ", "number"), "more: ", more)


def print_unexpected(error: BaseException, output: Output) -> None:
    """One sentence, an id and the file that holds the traceback."""
    from fleetbus.runtime.clock import SystemClock

    identifier = SystemClock().identifier()
    file = _keep(identifier, error)
    output.say(
        Cell("error[FB0001]", "bad"),
        f": the command failed in a way that nobody foresaw ({type(error).__name__}); id {identifier}",
    )
    output.say(
        Cell("   = ", "number"), "note: ", f"details are in {file}" if file else "no details were kept"
    )


def state_folder() -> Path:
    """Where the command keeps what it may lose: tracebacks, names for completion."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "fleetbus"


def _keep(identifier: str, error: BaseException) -> Path | None:
    import traceback

    file = state_folder() / "errors" / f"{identifier}.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.writelines(traceback.format_exception(error))
    except OSError:
        return None
    return file
