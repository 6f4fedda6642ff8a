"""What `operator create` and `subscriber create` are both given: where the fleet's keys are, and what to write."""

from __future__ import annotations

from pathlib import Path

import click

from fleetbus.cli.options import FLEET_DIR, given

credential_options = given(
    FLEET_DIR,
    click.option("--save-context", "context", default="", metavar="CONTEXT", help="Write this context too."),
    click.option(
        "--vault-token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --signing vault-transit; or set VAULT_TOKEN.",
    ),
)
"""As `folder`, `context` and `vault_token_file`."""
