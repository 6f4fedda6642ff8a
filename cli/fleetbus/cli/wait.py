"""`fleetbus wait`: until a condition holds. Ends at once when it cannot any more, and always says what is missing."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.references import one
from fleetbus.cli.table import Cell
from fleetbus.cli.waiting import Goal, Standing, Verdict, judge
from fleetbus.schemas.catalogue import condition_types

if TYPE_CHECKING:
    from fleetbus.client import Fleet

Target = tuple[str, str, Goal]
"""(kind, name, goal)."""
STAYS_S = 5.0
"""A failure that the next attempt may mend is believed when it has stayed for so long."""


@click.command("wait")
@click.argument("what", nargs=-1, required=True, metavar="TYPE/NAME…")
@click.option(
    "--for", "goal", default="condition=Ready", show_default=True, metavar="condition=TYPE[=STATUS]|delete"
)
@click.option("--timeout", "timeout_s", type=Duration(), default="5m", show_default=True)
@pass_invocation
def command(invocation: Invocation, what: tuple[str, ...], goal: str, timeout_s: float) -> int:
    """
    \b
    fleetbus wait bundle/ingress --timeout 10m
    fleetbus wait cluster/prod-us --for condition=Connected
    fleetbus wait bundle/ingress --for delete
    """
    wanted = parse_goal(goal)
    targets = [(*one(text), wanted) for text in what]
    for kind, _, _ in targets:
        check_type(kind, wanted)
    return invocation.run(lambda fleet: wait_for(fleet, targets, timeout_s, invocation.output))


def parse_goal(text: str) -> Goal:
    """Raises UsageError."""
    if text == "delete":
        return Goal(type="")
    word, _, rest = text.partition("=")
    type_, _, status = rest.partition("=")
    if word != "condition" or not type_ or status not in {"", "True", "False", "Unknown"}:
        raise click.UsageError(f"--for `{text}`: write condition=Ready, condition=Ready=False or delete.")
    return Goal(type_, status or "True")


def check_type(kind: str, goal: Goal) -> None:
    """Raises UsageError for a condition that no document of this kind has: waiting for it would never end."""
    known = condition_types(kind)
    if goal.deletion or goal.type in known:
        return
    near = difflib.get_close_matches(goal.type, known, n=1)
    told = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
    raise click.UsageError(f"--for condition={goal.type}: a {kind} has no such condition. {told}")


async def wait_for(fleet: Fleet, targets: Sequence[Target], timeout_s: float, output: Output) -> int:
    """Wait for all targets at once, printing each as it ends; the exit code of the worst."""
    waits = [asyncio.create_task(_one(fleet, target, output, timeout_s)) for target in targets]
    try:
        codes = await asyncio.gather(*waits)
        return exit_codes.FAILED if exit_codes.FAILED in codes else max(codes)
    finally:
        for task in waits:
            task.cancel()


async def _one(fleet: Fleet, target: Target, output: Output, timeout_s: float) -> int:
    kind, name, goal = target
    reference = f"{kind.lower()}/{name}"
    last = await _last(fleet, target, timeout_s)
    if last.standing is Standing.GOING:
        output.line(f"{reference} ", Cell("timed out", "warn"), f": {last.missing}")
        return exit_codes.TIMED_OUT
    if last.standing is Standing.MET:
        met = "deleted" if goal.deletion else f"condition {goal.type} is {goal.status}"
        output.line(f"{reference} ", Cell(met, "good"))
        return exit_codes.DONE
    output.line(f"{reference} ", Cell("failed", "bad"), f": {last.missing}")
    return exit_codes.FAILED


async def _last(fleet: Fleet, target: Target, timeout_s: float) -> Verdict:
    """The verdict that decides, or the one that stands when the time is over."""
    kind, name, goal = target
    last = Verdict(Standing.GOING, "nothing is known of it yet")
    now_s = asyncio.get_running_loop().time
    end_s = now_s() + timeout_s
    believed_at_s: float | None = None
    try:
        async with (
            asyncio.timeout_at(end_s) as limit,
            aclosing(fleet.watch(kind, names=(name,))) as lists,
        ):
            async for result in lists:
                rows = [row.document for row in result.rows if view.name_of(row.document) == name]
                last = judge(rows[0] if rows else None, goal)
                if last.may_pass:
                    believed_at_s = believed_at_s or min(end_s, now_s() + STAYS_S)
                elif last.standing is Standing.GOING:
                    believed_at_s = None
                else:
                    break
                limit.reschedule(believed_at_s or end_s)
    except TimeoutError:
        pass
    return last
