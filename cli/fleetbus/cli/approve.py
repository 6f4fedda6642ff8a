"""`fleetbus approve`: what waits for approvals in protected clusters, what it changes there, and one's own approval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.approvals import Open, approval_of, grouped, open_in, signed
from fleetbus.cli.approver_keys import KEY_HELP, approver_key
from fleetbus.cli.changes import SetChange, names, set_change
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output, heading
from fleetbus.cli.references import wanted
from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE, counted, rfc3339, short_revision
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.approvals import COMMAND, MAX_VALID_S, PRUNE, SET
from fleetbus.schemas.approvals_api import ApprovalsResult
from fleetbus.schemas.errors import NotPossible

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.runtime.ports import Signer

_FILE = click.Path(path_type=Path, dir_okay=False)
_SHOWN = 20
"""Objects of one bundle that are listed."""


@click.command("approve")
@click.argument("what", nargs=-1, metavar="[cluster/NAME…]")
@click.option("--key", "given", default="", metavar="KEY", help=KEY_HELP)
@click.option("--only", default="", metavar="ID", help="Only the set or command whose id begins so.")
@click.option(
    "--valid",
    "valid_s",
    type=Duration(),
    default="24h",
    show_default=True,
    help=f"How long the approval may wait for the others; at most {MAX_VALID_S // 86400 * 24}h.",
)
@click.option("--reason", default="", help="Signed with it, and kept in the audit record.")
@click.option("--vault-token-file", type=_FILE, help="For vault-transit; or set VAULT_TOKEN.")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def command(
    invocation: Invocation,
    what: tuple[str, ...],
    given: str,
    only: str,
    valid_s: float,
    reason: str,
    vault_token_file: Path | None,
    form: str,
    yes: bool,
) -> int:
    """
    \b
    fleetbus approve                                        # what waits
    fleetbus approve cluster/prod-us                        # what it changes there
    fleetbus approve cluster/prod-us --key ana.seed --reason CHG-311

    What is shown is read by digest and checked, so it is what is signed, whatever the controller says. An approval is
    of this change, in these clusters as they stand; it is used up by it, and lapses when it is not.
    """
    clusters = tuple(name for one in wanted(what) for name in one.names) if what else ()
    if what and (not clusters or any(one.kind != "Cluster" for one in wanted(what))):
        raise click.UsageError("Name clusters: fleetbus approve cluster/NAME.")
    if given and not clusters:
        raise click.UsageError("Say for which: fleetbus approve cluster/NAME --key KEY.")
    if not 0 < valid_s <= MAX_VALID_S:
        raise click.UsageError(f"--valid: at most {MAX_VALID_S // 86400} days.")
    found = invocation.run(lambda fleet: fleet.approvals(*clusters))
    if form == "json":
        invocation.output.json(found.as_json())
        return exit_codes.DONE
    # Nothing is shown or signed for a cluster that was not named, whatever the controller answers.
    waiting = [one for one in open_in(found, only) if not clusters or one.cluster in clusters]
    if not clusters:
        return _list(invocation.output, found, waiting)
    if not waiting:
        raise NotPossible("nothing waits for approvals there", remedy="see `fleetbus approve`")
    shown = invocation.run(lambda fleet: _show(fleet, waiting, invocation.output))
    if not given:
        invocation.output.note("Next: ", Cell(f"fleetbus approve {' '.join(what)} --key KEY", "command"))
        return exit_codes.DONE
    named = ", ".join(sorted({one.cluster for one in shown}))
    word = named if len({one.cluster for one in shown}) == 1 else "approve"
    confirm(invocation, f"approves {counted(len(shown), 'change')} in {named}.", word, yes=yes)

    async def approve(fleet: Fleet) -> int:
        async with approver_key(given, vault_token_file) as key:
            return await _approve(fleet, found.fleet, shown, key, valid_s, reason, invocation.output)

    return invocation.run(approve)


def _list(output: Output, found: ApprovalsResult, waiting: Sequence[Open]) -> int:
    if not found.rows:
        output.say("No cluster asks for approvals.")
    elif not waiting:
        output.say(f"Nothing waits for approvals in {counted(len(found.rows), 'protected cluster')}.")
    else:
        titles = ("CLUSTER", "KIND", "ID", "APPROVALS", "BY", "REMOVES")
        output.table(titles, [_row(one) for one in waiting])
        output.note("")
        output.note("Next: ", Cell(f"fleetbus approve cluster/{waiting[0].cluster}", "command"))
    return exit_codes.DONE


def _row(one: Open) -> list[Cell]:
    told = one.waiting
    return [
        Cell(one.cluster, "name"),
        Cell(told.kind),
        Cell(one.id),
        Cell(f"{len(told.approved_by)}/{told.need}"),
        Cell(",".join(name.replace(" ", "-") for name in told.approved_by) or NONE),
        Cell(str(sum(told.prunes.values())) if told.kind == PRUNE else NONE),
    ]


async def _show(fleet: Fleet, waiting: Sequence[Open], output: Output) -> list[Open]:
    """Print each, those of one change once; with what of it is to be signed besides."""
    shown: list[Open] = []
    for group in grouped(waiting):
        first = group[0]
        clusters = ", ".join(one.place for one in group)
        by = f" ({', '.join(first.waiting.approved_by)})" if first.waiting.approved_by else ""
        have = f"{len(first.waiting.approved_by)} of {first.waiting.need} approvals{by}"
        heading(output, first.waiting.kind.capitalize(), f"{first.id} in {clusters}; {have}")
        if first.waiting.kind == SET:
            change = await set_change(fleet.artifact, first.row.protection.set, first.waiting.digest)
            _print_set(output, change)
            group = [one.with_prunes(change.prunes) for one in group]
        elif first.waiting.kind == COMMAND:
            _print_command(output, first)
        else:
            known = await names(fleet.artifact, first.row.protection.set)
            for id_, count in first.waiting.prunes.items():
                what = f"{counted(count, 'object')} of bundle {known.get(id_, id_)}"
                output.line(f"  removes {what} that its set does not have any more")
        shown += group
        output.line("")
    return shown


def _print_set(output: Output, change: SetChange) -> None:
    for one in change.bundles:
        revisions = " → ".join(short_revision(text) or "nothing" for text in (one.before, one.after))
        note = f"  {one.note}" if one.note else ""
        output.line(f"  bundle {one.name}  {revisions}{note}")
        for line in one.objects[:_SHOWN]:
            output.line(f"    {line}")
        if len(one.objects) > _SHOWN:
            output.line(f"    and {len(one.objects) - _SHOWN} more")
    for said in change.others:
        output.line(f"  {said}")
    if not change.bundles and not change.others:
        output.line("  nothing that a bundle or a secret would show")
    removed = sum(change.prunes.values())
    output.line(f"  removes at most {counted(removed, 'object')}" if removed else "  removes nothing")


def _print_command(output: Output, one: Open) -> None:
    ordered = one.ordered
    output.line(f"  driver {ordered.driver}, ordered by {ordered.issued_by or NONE}")
    for name, value in sorted(ordered.arguments.items()):
        output.line(f"    {name}: {value}")
    output.line(f"  never starts after {rfc3339(ordered.deadline)}")
    if ordered.reason:
        output.line(f"  reason: {ordered.reason}")


async def _approve(
    fleet: Fleet,
    name: str,
    shown: Sequence[Open],
    key: Signer,
    valid_s: float,
    reason: str,
    output: Output,
) -> int:
    mine: list[Open] = []
    for one in shown:
        by = one.approver(key.public_key)
        if by in one.waiting.approved_by:
            output.line(f"cluster/{one.cluster} {one.waiting.kind} {one.id} has your approval already")
        else:
            mine.append(one)
    if not mine:
        return exit_codes.DONE
    now = SystemClock().now()
    approvals = [approval_of(name, group, now, valid_s, reason) for group in grouped(mine)]
    await fleet.hand_in([await signed(one, key) for one in approvals], reason=reason)
    for one in mine:
        by, had, need = one.approver(key.public_key), len(one.waiting.approved_by), one.waiting.need
        standing = Cell(f"{had + 1} of {need}", "good" if had + 1 >= need else "wait")
        output.line(f"cluster/{one.cluster} {one.waiting.kind} {one.id} approved by {by}: ", standing)
    return exit_codes.DONE
