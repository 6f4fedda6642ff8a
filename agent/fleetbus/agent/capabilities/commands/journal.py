"""What has become of each command, kept in the cluster before anything takes effect. Pure.

An entry is written when a command starts, before its effect; `effected` is set once the effect was seen. What
never starts (expired, cancelled, refused) is written too, so that an agent that comes back says the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.states import FINISHED, CommandResult

KEY = "journal"
MAX_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class Entry:
    result: CommandResult
    effected: bool = False

    @property
    def id(self) -> str:
        return self.result.id

    @property
    def driver(self) -> str:
        return self.result.driver

    @property
    def finished(self) -> bool:
        return self.result.phase in FINISHED


Journal = Mapping[str, Entry]


def started(command: Command, now: datetime) -> Entry:
    return Entry(
        CommandResult(id=command.id, driver=command.driver, phase=schema.PHASE_RUNNING, started_at=now)
    )


def effected(entry: Entry) -> Entry:
    return replace(entry, effected=True)


def never_started(command: Command, phase: str, message: str, now: datetime) -> Entry:
    return Entry(
        CommandResult(
            id=command.id,
            driver=command.driver,
            phase=phase,
            message=message[:MAX_MESSAGE],
            finished_at=now,
        )
    )


def moved(entry: Entry, *, message: str, percent: int = 0, output: Mapping[str, Any] | None = None) -> Entry:
    """A command that runs, further on; its percentage never goes back."""
    update = {
        "message": message[:MAX_MESSAGE],
        "progress_percent": max(entry.result.progress_percent, percent),
        "output": dict(output or entry.result.output),
    }
    return Entry(entry.result.model_copy(update=update), effected=True)


def finished(entry: Entry, phase: str, message: str, now: datetime) -> Entry:
    update: dict[str, Any] = {"phase": phase, "message": message[:MAX_MESSAGE], "finished_at": now}
    if phase == schema.PHASE_SUCCEEDED:
        update["progress_percent"] = 100
    if phase == schema.PHASE_REFUSED or not entry.effected:
        update["started_at"] = None
    return Entry(entry.result.model_copy(update=update), entry.effected)


def as_json(journal: Journal) -> dict[str, Any]:
    """Newest state of each entry, in the order in which they were written."""
    return {
        "entries": [
            {"result": entry.result.as_json(), "effected": entry.effected} for entry in journal.values()
        ]
    }


def from_json(kept: Mapping[str, Any] | None) -> dict[str, Entry]:
    """Inverse of `as_json`. Raises MessageMalformed: without its journal an agent must start nothing."""
    entries = (kept or {}).get("entries", [])
    try:
        found = [Entry(CommandResult.from_json(one["result"]), bool(one["effected"])) for one in entries]
    except (KeyError, TypeError) as error:
        raise MessageMalformed("the journal of commands cannot be read", where="AgentState") from error
    return {entry.id: entry for entry in found}
