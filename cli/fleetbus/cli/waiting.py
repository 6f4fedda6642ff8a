"""Whether what is waited for is there, can still come, or cannot: pure, over one row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleetbus.cli import view
from fleetbus.cli.view import Json
from fleetbus.schemas import errors


class Standing(Enum):
    MET = "met"
    GOING = "going"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`missing` says in one line what is not there yet. `may_pass`: a failure that the next attempt may mend."""

    standing: Standing
    missing: str = ""
    may_pass: bool = False


def _below(error: type[errors.FleetbusError]) -> frozenset[str]:
    return frozenset({error.__name__, *(name for one in error.__subclasses__() for name in _below(one))})


MENDING = _below(errors.Transient) | {
    "ApiserverUnreachable",
    "VaultSealed",
    "ApplyConflict",
    "NamespaceMissing",
    "SourceMissing",
    "SourceNotReady",
    "DesiredRefused",
    "BundleNotReady",
}
"""Reasons of a False that go away without anybody changing the document: waiting goes on."""
TRIED_AGAIN = frozenset({"ApplyRefused", "KindUnknown"})
"""Reasons that another object of the same commit may mend a moment later: a role, a definition."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A condition with a status, or with no type that the document is gone. `generation`: at least this one."""

    type: str = view.READY
    status: str = "True"
    generation: int = 0

    @property
    def deletion(self) -> bool:
        return not self.type


def judge(document: Json | None, goal: Goal) -> Verdict:
    """`document` is None when there is none."""
    if document is None:
        return Verdict(Standing.MET) if goal.deletion else Verdict(Standing.FAILED, "it is not there")
    if goal.deletion:
        told = view.details(document)
        left = view.texts(told.get("retiring")) or view.texts(told.get("placed"))
        where = f": receipts of {', '.join(left)} are missing" if left else ""
        return Verdict(Standing.GOING, f"it is still there{where}")
    wanted = goal.generation or view.generation(document)
    if view.observed_generation(document) < wanted:
        return Verdict(
            Standing.GOING,
            f"generation {wanted} is not observed yet (observed {view.observed_generation(document)})",
        )
    found = view.condition(document, goal.type)
    status = str(found.get("status", "Unknown"))
    if status == goal.status:
        return Verdict(Standing.MET)
    reason = str(found.get("reason") or "NotObserved")
    message = f": {found['message']}" if found.get("message") else ""
    missing = f"{goal.type} is {status}, {reason}{message}{_laggards(document)}"
    if status == "False" and goal.status == "True" and reason not in MENDING:
        return Verdict(Standing.FAILED, missing, may_pass=reason in TRIED_AGAIN)
    return Verdict(Standing.GOING, missing)


def _laggards(document: Json) -> str:
    """The clusters that are not ready, by name."""
    names = [
        str(one.get("cluster"))
        for one in view.maps(view.details(document).get("clusters"))
        if one.get("ready", one.get("synced")) != "True"
    ]
    return (
        f" ({', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''})" if names else ""
    )
