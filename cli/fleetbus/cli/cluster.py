"""`fleetbus cluster`: who is let into the fleet, and who leaves it."""

from __future__ import annotations

import importlib
from typing import Final

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.program import with_common_options
from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE
from fleetbus.schemas.enrolment_api import ApproveRequest, EnrolmentRow

_APART: Final = {
    "join": ("cluster_join", "command"),
    "vault": ("cluster_vault", "command"),
    "revoke": ("cluster_leave", "revoke_command"),
    "retire": ("cluster_leave", "retire_command"),
}
"""Commands in modules of their own, each imported when it is run: a revocation does not wait for what joining needs."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_APART])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _APART:
            return super().get_command(ctx, cmd_name)
        module, name = _APART[cmd_name]
        found: click.Command = getattr(importlib.import_module(f"fleetbus.cli.{module}"), name)
        return with_common_options(found)


@click.group("cluster", cls=_Commands)
def command() -> None:
    """
    \b
    fleetbus cluster join prod-us --label env=prod -o manifest --image IMAGE | kubectl apply -f -
    fleetbus cluster revoke prod-us --fleet-dir fleet --reason INC-4711
    """


@command.command("pending", short_help="open tokens, who waits, and who claims another's name")
@pass_invocation
def pending_command(invocation: Invocation) -> int:
    """
    \b
    fleetbus cluster pending
    """
    rows = invocation.run(lambda fleet: fleet.enrolments()).rows
    output = invocation.output
    if not rows:
        output.say("No token is open, and nobody waits.")
        return exit_codes.DONE
    output.table(
        ("NAME", "REALM", "STANDING", "KUBE-SYSTEM", "KEY", "UNTIL", "WHY"),
        [_pending_row(row) for row in rows],
    )
    return exit_codes.DONE


def _pending_row(row: EnrolmentRow) -> list[Cell]:
    until = f"{row.expires_at:%m-%d %H:%M}" if row.expires_at else NONE
    texts = (row.name, row.realm, row.outcome, row.uid or NONE, row.nkey or NONE, until, row.message)
    return [Cell(text) for text in texts]


@command.command("approve", short_help="let the cluster in that waits under a name")
@click.argument("name")
@click.option("--key", default="", help="Only if the one that waits has this public key.")
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def approve_command(invocation: Invocation, name: str, key: str, reason: str) -> int:
    """
    \b
    fleetbus cluster pending
    fleetbus cluster approve prod-us --key UAB…
    """
    asked = ApproveRequest(name=name, nkey=key, reason=reason)
    answer = invocation.run(lambda fleet: fleet.approve(asked))
    invocation.output.line(f"cluster/{name} {answer.message}")
    return exit_codes.DONE


@command.command("dismiss", short_help="turn away who waits for a name, or claims it")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the audit record.")
@pass_invocation
def dismiss_command(invocation: Invocation, name: str, reason: str) -> int:
    """
    \b
    fleetbus cluster dismiss prod-us --reason "a restored backup, switched off"

    Its open tokens are withdrawn. Who has the name keeps it.
    """
    asked = ApproveRequest(name=name, dismiss=True, reason=reason)
    answer = invocation.run(lambda fleet: fleet.approve(asked))
    invocation.output.line(f"cluster/{name} {answer.message}")
    return exit_codes.DONE
