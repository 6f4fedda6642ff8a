"""`fleetbus delete`: take a document away; what it put into clusters follows by its policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from fleetbus.cli import view
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.references import wanted
from fleetbus.cli.text import counted
from fleetbus.cli.wait import wait_for
from fleetbus.cli.waiting import Goal

if TYPE_CHECKING:
    from fleetbus.client import Fleet


@click.command("delete")
@click.argument("what", nargs=-1, required=True, metavar="TYPE/NAME…")
@click.option(
    "--policy",
    type=click.Choice(["Keep", "Remove"]),
    help="What becomes of its objects in clusters, instead of what the document says.",
)
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until it is gone from every cluster.")
@click.option("--timeout", "timeout_s", type=Duration(), default="5m", show_default=True, help="For --wait.")
@pass_invocation
def command(
    invocation: Invocation,
    what: tuple[str, ...],
    policy: Literal["Keep", "Remove"] | None,
    reason: str,
    yes: bool,
    waiting: bool,
    timeout_s: float,
) -> int:
    """
    \b
    fleetbus delete bundle/ingress
    fleetbus delete bundle/ingress --policy Keep --yes
    """
    named = [(one.kind, name) for one in wanted(what) for name in one.names]
    if not named:
        raise click.UsageError("Say which: TYPE/NAME. There is no way to delete all of a type.")
    if any(kind == "Cluster" for kind, _ in named):
        raise click.UsageError("A cluster leaves with `fleetbus cluster retire NAME`.")
    if not yes:
        for kind, name in named:
            confirm(invocation, _consequence(invocation, kind, name, policy or ""), name, yes=False)

    async def delete(fleet: Fleet) -> int:
        for kind, name in named:
            answer = await fleet.delete(kind, name, policy=policy or "", reason=reason)
            invocation.output.line(
                f"{kind.lower()}/{name} deleted{f': {answer.message}' if answer.message else ''}"
            )
        if not waiting:
            return 0
        targets = [(kind, name, Goal(type="")) for kind, name in named]
        return await wait_for(fleet, targets, timeout_s, invocation.output)

    return invocation.run(delete)


def _consequence(invocation: Invocation, kind: str, name: str, policy: str) -> str:
    found = invocation.run(lambda fleet: fleet.describe(kind, name))
    document = found.document
    placed = counted(len(view.texts(view.details(document).get("placed"))), "cluster")
    objects = int(view.details(document).get("objects") or 0)
    if kind == "Bundle":
        chosen = policy or view.spec(document).get("untarget", "Remove")
        what = counted(objects, "object")
        verb = "stay in" if chosen == "Keep" else "are removed from"
        return f"deletes bundle {name}; its {what} {verb} {placed}."
    if kind == "SecretBinding":
        return f"deletes secretbinding {name}; its Secret goes from {placed}."
    return f"deletes {kind.lower()} {name}."
