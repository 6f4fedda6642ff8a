"""What `operator create` and `subscriber create` are both given: where the fleet's keys are, and what to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--fleet-dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="FLEETBUS_FLEET_DIR",
        required=True,
        help="The folder that `fleetbus init` made; or set FLEETBUS_FLEET_DIR.",
    ),
    click.option("--save-context", "context", default="", metavar="CONTEXT", help="Write this context too."),
    click.option(
        "--vault-token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --signing vault-transit; or set VAULT_TOKEN.",
    ),
)


def credential_options(command: _Command) -> _Command:
    """Adds them in this order, as `folder`, `context` and `vault_token_file`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
