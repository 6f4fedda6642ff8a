"""A revocation from the request to the last receipt, and how it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from fleetbus.cli import exit_codes, view
from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import Cell
from fleetbus.cli.text import counted, parse_time, rfc3339_ms
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.secrets import BOUND, REASON_NOT_OURS, REASON_REFUSED
from fleetbus.schemas.conditions import MAX_LISTED

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_FAILED_REASONS = frozenset({REASON_REFUSED, REASON_NOT_OURS, "FinalizerPresent"})
_SHOWN = 5


class Outcome(Enum):
    """A receipt's token of colour is its value."""

    PROVED = "good"
    PENDING = "away"
    FAILED = "bad"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One cluster's answer, as its agent has signed it and the controller has verified."""

    cluster: str
    outcome: Outcome
    removed_at: str = ""
    confirmed_at: str = ""
    reason: str = ""
    message: str = ""

    @property
    def confirmed_after_ms(self) -> int | None:
        removed, confirmed = parse_time(self.removed_at), parse_time(self.confirmed_at)
        return round((confirmed - removed).total_seconds() * 1000) if removed and confirmed else None


@dataclass(slots=True)
class Revocation:
    """What is known so far. Times are seconds since the request.

    `own_path`: each cluster reads below its own place, which no group can take from it: only deleting the value
    does, so there is nothing to wait for in Vault.
    """

    own_path: bool = False
    withdrawn: str = ""
    vault: str = ""
    vault_s: float | None = None
    clusters_s: float | None = None
    receipts: tuple[Receipt, ...] = ()

    @property
    def done(self) -> bool:
        settled = all(one.outcome is Outcome.PROVED for one in self.receipts)
        return (self.own_path or self.vault_s is not None) and settled

    def counted(self, outcome: Outcome) -> int:
        return sum(one.outcome is outcome for one in self.receipts)


def receipts(
    document: Mapping[str, Any], before: Sequence[str], away: Mapping[str, bool], *, most: int = MAX_LISTED
) -> tuple[Receipt, ...]:
    """One for each cluster that had the secret. `before`: the clusters that were placed at the request.

    The status lists at most `most`, those that are not done first: once it lists one that is done, so is the rest.
    """
    told = {str(one.get("cluster")): one for one in view.maps(view.details(document).get("clusters"))}
    names = sorted({*before, *told})
    rest_done = len(told) >= most and any(_proved(one) for one in told.values())
    return tuple(
        Receipt(name, Outcome.PROVED)
        if rest_done and name not in told
        else _receipt(name, told.get(name, {}), away.get(name, False))
        for name in names
    )


def _proved(told: Mapping[str, Any]) -> bool:
    return bool(told.get("removed") and told.get("confirmedAt"))


def _receipt(cluster: str, told: Mapping[str, Any], away: bool) -> Receipt:
    reason, message = str(told.get("reason") or ""), str(told.get("message") or "")
    if _proved(told):
        removed, confirmed = str(told.get("removedAt") or ""), str(told["confirmedAt"])
        return Receipt(cluster, Outcome.PROVED, removed, confirmed)
    if reason in _FAILED_REASONS:
        return Receipt(cluster, Outcome.FAILED, reason=reason, message=message)
    return Receipt(cluster, Outcome.PENDING, reason="Disconnected" if away else reason, message=message)


async def revoke(fleet: Fleet, name: str, reason: str, timeout_s: float, form: str, output: Output) -> int:
    """Revoke, wait for the receipts, print them; the exit code."""
    clock = SystemClock()
    document = (await fleet.describe("SecretBinding", name)).document
    before = view.texts(view.details(document).get("placed"))
    found = Revocation(own_path=not view.inner(view.spec(document), "vault").get("shared"))
    began_s = clock.monotonic_s()
    await fleet.revoke(name, reason=reason)
    try:
        async with asyncio.timeout(timeout_s):
            async with aclosing(fleet.watch("SecretBinding", names=(name,))) as lists:
                async for result in lists:
                    if not result.rows:
                        break
                    _look(found, result.rows[0].document, before, clock.monotonic_s() - began_s)
                    if found.done:
                        break
    except TimeoutError:
        pass
    await _who_is_away(fleet, found)
    if form == "json":
        output.json(_as_json(found))
    else:
        print_revocation(output, found)
    return _exit_code(found)


def _look(found: Revocation, document: Mapping[str, Any], before: Sequence[str], after_s: float) -> None:
    withdrawn = view.details(document).get("withdrawnAt")
    found.vault = str(view.condition(document, BOUND).get("message") or "")
    if withdrawn and found.vault_s is None:
        found.withdrawn, found.vault_s = str(withdrawn), after_s
    proved = found.counted(Outcome.PROVED)
    found.receipts = receipts(document, before, {})
    if found.counted(Outcome.PROVED) > proved:
        found.clusters_s = after_s


async def _who_is_away(fleet: Fleet, found: Revocation) -> None:
    pending = {one.cluster for one in found.receipts if one.outcome is Outcome.PENDING}
    if not pending:
        return
    rows = (await fleet.list("Cluster")).rows
    away = {view.name_of(row.document): _away(row.live) for row in rows}
    found.receipts = tuple(
        Receipt(one.cluster, one.outcome, reason=away[one.cluster])
        if one.cluster in pending and away.get(one.cluster)
        else one
        for one in found.receipts
    )


def _away(live: Mapping[str, Any]) -> str:
    """Why a cluster cannot be heard; '' for one that is."""
    if live.get("connected") is False:
        return "Disconnected"
    return "HeartbeatMissed" if live.get("responsive") is False else ""


def _exit_code(found: Revocation) -> int:
    if found.done:
        return exit_codes.DONE
    if found.counted(Outcome.FAILED):
        return exit_codes.FAILED
    return exit_codes.TIMED_OUT


def print_revocation(output: Output, found: Revocation) -> None:
    """On a terminal a summary and a table, in a pipe one line a receipt."""
    if output.plain:
        _print_plain(output, found)
        return
    if found.vault_s is None:
        heading(output, "Vault", output.mark("warn"), f" {_vault_text(found)}")
    else:
        heading(output, "Vault", output.mark("good"), f" withdrawn{' ' * 56}{found.vault_s:.2f}s")
    proved, total = found.counted(Outcome.PROVED), len(found.receipts)
    took = f"{found.clusters_s:.2f}s" if found.clusters_s is not None else ""
    text = f" {proved} of {total} removed, each confirmed by a read of its apiserver"
    heading(output, "Clusters", output.mark("good" if proved == total else "away"), text.ljust(66), took)
    for one in found.receipts:
        if one.outcome is not Outcome.PROVED:
            said = f": {one.message}" if one.message else ""
            heading(
                output, "", output.mark(one.outcome.value), f" {one.cluster}  {one.reason or 'Pending'}{said}"
            )
    shown = [one for one in found.receipts if one.outcome is Outcome.PROVED]
    if shown:
        output.line("")
        output.table(["CLUSTER", "STATE", "REMOVED", "CONFIRMED"], [_row(one) for one in shown[:_SHOWN]])
        if len(shown) > _SHOWN:
            output.line(f"{len(shown) - _SHOWN} more: ", Cell("… | cat", "command"))
    output.line("")
    withdrawn = "Revoked in Vault." if found.vault_s is not None else "Not withdrawn in Vault."
    output.line(
        f"{withdrawn} Clusters: {proved} proved, {found.counted(Outcome.PENDING)} pending,"
        f" {found.counted(Outcome.FAILED)} failed."
    )


def _vault_text(found: Revocation) -> str:
    return found.vault.removeprefix("revoked; ") or "not withdrawn yet"


def _row(one: Receipt) -> list[Cell]:
    removed, confirmed = parse_time(one.removed_at), parse_time(one.confirmed_at)
    shown = [
        f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}" if at else "-"
        for at in (removed, confirmed)
    ]
    return [Cell(one.cluster, "name"), Cell("Removed", "good"), *(Cell(text) for text in shown)]


def _print_plain(output: Output, found: Revocation) -> None:
    widest = max([5, *(len(one.cluster) for one in found.receipts)])
    if found.vault_s is None:
        output.line(f"{'vault'.ljust(widest)} warn withdrawn=no {_vault_text(found)}")
    else:
        output.line(f"{'vault'.ljust(widest)} ok   withdrawn={found.withdrawn} took={found.vault_s:.2f}s")
    for one in found.receipts:
        name = one.cluster.ljust(widest)
        if one.outcome is Outcome.PROVED:
            removed = parse_time(one.removed_at)
            at = rfc3339_ms(removed) if removed else "-"
            after = one.confirmed_after_ms
            output.line(f"{name} ok   Removed at={at}{f' confirmed=+{after}ms' if after is not None else ''}")
        else:
            word = "FAIL Present" if one.outcome is Outcome.FAILED else "away Pending"
            said = f" message={one.message}" if one.message else ""
            output.line(f"{name} {word} reason={one.reason or 'Pending'}{said}")


def _as_json(found: Revocation) -> dict[str, Any]:
    return {
        "withdrawnAt": found.withdrawn or None,
        "clusters": [
            {
                "cluster": one.cluster,
                "outcome": one.outcome.name.capitalize(),
                "removedAt": one.removed_at or None,
                "confirmedAt": one.confirmed_at or None,
                "reason": one.reason or None,
            }
            for one in found.receipts
        ],
        "summary": counted(found.counted(Outcome.PROVED), "receipt"),
    }
