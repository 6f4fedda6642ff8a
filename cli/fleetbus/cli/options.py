"""Options that several commands are given, and how a command is given several at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

FLEET_DIR = click.option(
    "--fleet-dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="FLEETBUS_FLEET_DIR",
    required=True,
    help="The folder that `fleetbus init` made; or set FLEETBUS_FLEET_DIR.",
)
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def given(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Adds options and arguments in this order, as they stand in the help."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
