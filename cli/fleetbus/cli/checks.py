"""Findings of `doctor`: what was looked at, how it stands, why, what it means, and what mends it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from fleetbus.cli.output import Output, heading
from fleetbus.cli.table import Cell
from fleetbus.cli.text import age, counted
from fleetbus.schemas.agent_pod import AGENT_LOGS
from fleetbus.schemas.api import Overview

AREAS: Final = ("you", "bus", "vault", "fleet")
_NAMED = 5
_INDENT = " " * 12


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `state` is a token of colour, or `skip` when its cause has failed already."""

    area: str
    code: str
    state: Literal["good", "warn", "bad", "skip"]
    text: str
    why: str = ""
    effect: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        found = {
            "area": self.area,
            "code": self.code,
            "state": {"good": "ok", "bad": "failed", "warn": "warning", "skip": "skipped"}[self.state],
            "text": self.text,
            "why": self.why,
            "effect": self.effect,
            "fix": self.fix,
        }
        return {key: value for key, value in found.items() if value}


def fleet_checks(found: Overview, answered_ms: float, now: datetime) -> list[Check]:
    """What the controller's overview shows."""
    checks = [_controller(found, answered_ms), _streams(found, now), _audit(found)]
    checks.append(_away(found))
    checks.append(_held(found))
    checks.append(_problems(found))
    return checks


def _controller(found: Overview, answered_ms: float) -> Check:
    text = f"controller {found.controller or '?'} of fleet {found.fleet} answered in {answered_ms:.0f} ms"
    if not found.term:
        why = "another controller held the lease, or none has taken it yet"
        return Check("bus", "FB3001", "warn", f"{text}, but does not lead", why=why, fix="fleetbus doctor")
    return Check("bus", "FB3001", "good", f"{text}, term {found.term}, epoch {found.epoch}")


def _streams(found: Overview, now: datetime) -> Check:
    missing = sorted(name for name, messages in found.streams.items() if messages < 0)
    if missing:
        return Check(
            "bus",
            "FB3004",
            "bad",
            f"streams are missing: {', '.join(missing)}",
            effect="what they would hold is neither told nor kept",
            fix="fleetbus init --out DIR --online",
        )
    oldest = f", events kept for {age(found.oldest_event_at, now)}" if found.oldest_event_at else ""
    return Check("bus", "FB3004", "good", f"{counted(len(found.streams), 'stream')} there{oldest}")


def _audit(found: Overview) -> Check:
    number, _, digest = found.audit_newest.partition(":")
    if not digest:
        why = "the stream AUDIT is missing or cannot be read"
        return Check(
            "bus",
            "FB3005",
            "bad",
            "the audit chain cannot be read",
            why=why,
            fix="fleetbus init --out DIR --online",
        )
    if int(number) > found.audit_copied:
        return Check(
            "bus",
            "FB3005",
            "warn",
            f"audit chain at {found.audit_newest}, kept for ever up to {found.audit_copied}",
            why="the server has not copied the rest into the stream AUDIT yet",
            fix="fleetbus doctor",
        )
    return Check("bus", "FB3005", "good", f"audit chain at {found.audit_newest}")


def _away(found: Overview) -> Check:
    total = next((one.count for one in found.tallies if one.kind == "Cluster"), 0)
    if not found.away:
        return Check("fleet", "FB2001", "good", f"{counted(total, 'cluster')} connected")
    names = ", ".join(found.away[:_NAMED])
    more = f" and {len(found.away) - _NAMED} more" if len(found.away) > _NAMED else ""
    return Check(
        "fleet",
        "FB2001",
        "bad",
        f"{len(found.away)} of {counted(total, 'cluster')} away: {names}{more}",
        why="its agent does not run, does not reach the bus, or stands still",
        fix=AGENT_LOGS,
    )


def _held(found: Overview) -> Check:
    if not found.held:
        return Check("fleet", "FB1301", "good", "nothing is held")
    first = found.held[0]
    return Check(
        "fleet",
        "FB1301",
        "warn",
        f"{counted(len(found.held), 'document')} held: {first.object} {first.reason}",
        why=first.message,
        fix=f"fleetbus describe {first.object}",
    )


def _problems(found: Overview) -> Check:
    wrong = [one for one in found.problems if one.status == "False"]
    if not wrong:
        return Check("fleet", "FB1302", "good", "no document is in error")
    first = wrong[0]
    return Check(
        "fleet",
        "FB1302",
        "bad",
        f"{counted(len(wrong), 'document')} in error: {first.object} {first.reason}",
        why=first.message,
        fix=f"fleetbus describe {first.object}",
    )


def print_checks(output: Output, checks: Sequence[Check]) -> None:
    """By area; in a pipe one line a check."""
    if output.plain:
        words = {"good": "ok", "warn": "warn", "bad": "FAIL", "skip": "skip"}
        for one in checks:
            fix = f" | fix: {one.fix}" if one.fix else ""
            why = f" | why: {one.why}" if one.why else ""
            output.line(f"{words[one.state].ljust(5)} {one.code} {one.area.ljust(5)}  {one.text}{why}{fix}")
        return
    area = ""
    for one in checks:
        title = "" if one.area == area else one.area.capitalize()
        area = one.area
        mark = Cell("-", "wait") if one.state == "skip" else output.mark(one.state)
        code = f" {one.code} " if one.state in {"warn", "bad"} else ""
        heading(output, title, mark, f"{code} {one.text}")
        for word, text in (("why", one.why), ("effect", one.effect), ("fix", one.fix)):
            if text:
                output.line(f"{_INDENT}  {word}: ", Cell(text, "command" if word == "fix" else ""))


def summary_line(checks: Sequence[Check]) -> str:
    """`7 checks: 5 ok, 1 warning, 1 failed`."""
    counts = {state: sum(one.state == state for one in checks) for state in ("good", "warn", "bad", "skip")}
    parts = [f"{counts['good']} ok"]
    if counts["warn"]:
        parts.append(counted(counts["warn"], "warning"))
    if counts["bad"]:
        parts.append(f"{counts['bad']} failed")
    if counts["skip"]:
        parts.append(f"{counts['skip']} skipped")
    return f"{counted(len(checks), 'check')}: {', '.join(parts)}"
