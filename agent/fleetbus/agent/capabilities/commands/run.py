"""One agent's commands at work: the plan's steps, each journaled before it takes effect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import structlog

from fleetbus.agent.capabilities.commands import journal as journals
from fleetbus.agent.capabilities.commands.drivers import Driver, Progress
from fleetbus.agent.capabilities.commands.journal import Entry
from fleetbus.agent.capabilities.commands.plan import (
    Abort,
    End,
    Forget,
    Look,
    Resume,
    Start,
    Step,
    plan,
    results,
)
from fleetbus.agent.ports import Outcome, Ports, Told
from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import MessageMalformed, Terminal, Transient
from fleetbus.schemas.states import RESULT_ASPECT, Results

log = structlog.get_logger(__name__)

_RETRY_S = (0.25, 15.0)
_EVERYTHING = "*"
_OBSERVES = "this agent may only observe: nothing is started in its cluster"
_GONE = "its effect is gone: somebody removed it in the cluster"


class Commands:
    """The worker. What it knows beyond the journal is only where the running command stood at the last look."""

    def __init__(self, ports: Ports, drivers: Sequence[Driver]) -> None:
        self._ports = ports
        self._drivers = {driver.name: driver for driver in drivers}
        self._journal: dict[str, Entry] | None = None
        self._progress: dict[str, Progress] = {}
        self._failures = 0

    async def reconcile(self, told: Told) -> Outcome:
        commands = commands_of(told.content)
        try:
            await self._advance(commands, told)
            self._failures = 0
        except Transient as error:
            # What the API server did not take is tried again; what stands is reported all the same.
            self._failures += 1
            log.info("commands wait", reason=error.reason)
        halted = _EVERYTHING in told.halts()
        unapproved = unapproved_of(told.content)
        body = Results(commands=results(commands, self._entries, halted=halted, unapproved=unapproved))
        return Outcome(aspects={RESULT_ASPECT: body.as_json()}, again_in_s=self._again_in_s(commands))

    async def changed(self) -> None:
        """Until the effect of the running command is not what was seen at the last look."""
        running = next((entry for entry in self._entries.values() if not entry.finished), None)
        driver = self._drivers.get(running.driver) if running else None
        if running is None or driver is None:
            await asyncio.Event().wait()
            return
        seen = self._progress[running.id].seen if running.id in self._progress else ""
        watch = self._ports.kube.watch(driver.effect, label_selector=f"{schema.ID_LABEL}={running.id}")
        there = False
        async with aclosing(watch) as events:
            async for event in events:
                version = (event.object.get("metadata") or {}).get("resourceVersion", "")
                there = there or event.type in ("ADDED", "MODIFIED")
                if (event.type == "SYNCED" and seen and not there) or (
                    event.type != "SYNCED" and (event.type == "DELETED" or version != seen)
                ):
                    return

    async def close(self) -> None:
        """Nothing to end: what runs, runs in the cluster."""

    @property
    def _entries(self) -> dict[str, Entry]:
        return self._journal or {}

    async def _advance(self, commands: Sequence[Command] | None, told: Told) -> None:
        """Steps until nothing is left that can be done now; each command is looked at once."""
        if self._journal is None:
            self._journal = journals.from_json(self._ports.keep.kept(journals.KEY))
        taken: set[tuple[str, str]] = set()
        unapproved = unapproved_of(told.content)
        while not told.superseded():
            steps = plan(
                commands,
                self._entries,
                self._ports.clock.now(),
                drivers=self._drivers,
                halted=_EVERYTHING in told.halts(),
                unapproved=unapproved,
            )
            step = next((one for one in steps if _name(one) not in taken), None)
            if step is None:
                return
            taken.add(_name(step))
            await self._take(step, told)

    async def _take(self, step: Step, told: Told) -> None:
        match step:
            case Forget(ids):
                left = {id_: entry for id_, entry in self._entries.items() if id_ not in ids}
                await self._write(left)
                for id_ in ids:
                    self._progress.pop(id_, None)
            case End(entries):
                await self._put(*entries)
            case Look(entry):
                await self._look(entry)
            case Abort(entry):
                await self._abort(entry)
            case Resume():
                await self._resume(step)
            case Start(command):
                await self._start(command, told)

    async def _start(self, command: Command, told: Told) -> None:
        observes = self._ports.observes()
        driver = self._drivers[command.driver]
        finding = _OBSERVES if observes else await driver.preflight(command.arguments)
        now = self._ports.clock.now()
        if finding is not None:
            await self._put(journals.never_started(command, schema.PHASE_REFUSED, finding, now))
            return
        if now > command.deadline or told.superseded() or _EVERYTHING in told.halts():
            return
        entry = journals.started(command, now)
        await self._put(entry)
        await self._effect(entry, command)

    async def _effect(self, entry: Entry, command: Command) -> None:
        try:
            await self._drivers[command.driver].start(command.id, command.arguments)
        except Terminal as error:
            message = f"it took no effect: {error.sentence()}"
            await self._end(entry, schema.PHASE_REFUSED, message)
            return
        await self._put(journals.effected(entry))

    async def _resume(self, step: Resume) -> None:
        entry = step.entry
        driver = self._drivers.get(entry.driver)
        if driver is not None and await driver.observe(entry.id) is not None:
            await self._put(journals.effected(entry))
        elif step.command is not None and driver is not None:
            await self._effect(entry, step.command)
        elif any(step.because) or driver is None:
            phase, because = step.because if step.command is None else _no_driver(entry)
            await self._end(entry, phase, because)

    async def _look(self, entry: Entry) -> None:
        driver = self._drivers.get(entry.driver)
        if driver is None:
            await self._end(entry, *_no_driver(entry))
            return
        progress = await driver.observe(entry.id)
        if progress is None:
            await self._end(entry, schema.PHASE_FAILED, _GONE)
        else:
            await self._moved(entry, progress)

    async def _abort(self, entry: Entry) -> None:
        driver = self._drivers.get(entry.driver)
        progress = await driver.observe(entry.id) if driver else None
        if driver is not None and progress is not None:
            if progress.phase != "Running":
                await self._moved(entry, progress)
                return
            if self._ports.observes():
                self._note(entry, progress, "it goes on: this agent may only observe")
                return
            await driver.abort(entry.id)
            progress = await driver.observe(entry.id)
        if progress is None:
            await self._end(entry, schema.PHASE_CANCELLED, "it was cancelled and its effect taken away")
        else:
            self._note(entry, progress, "it is being cancelled")

    async def _moved(self, entry: Entry, progress: Progress) -> None:
        self._note(entry, progress, progress.message)
        if progress.phase != "Running":
            await self._end(self._entries[entry.id], progress.phase, progress.message)

    def _note(self, entry: Entry, progress: Progress, message: str) -> None:
        """Progress is only remembered: after a crash it is seen again."""
        self._progress[entry.id] = progress
        moved = journals.moved(entry, message=message, percent=progress.percent, output=progress.output)
        self._journal = {**self._entries, entry.id: moved}

    async def _end(self, entry: Entry, phase: str, message: str) -> None:
        await self._put(journals.finished(entry, phase, message, self._ports.clock.now()))
        log.info("command ended", command=entry.id, driver=entry.driver, phase=phase)

    async def _put(self, *entries: Entry) -> None:
        await self._write({**self._entries, **{entry.id: entry for entry in entries}})

    async def _write(self, journal: dict[str, Entry]) -> None:
        await self._ports.keep.keep({journals.KEY: journals.as_json(journal)})
        self._journal = journal

    def _again_in_s(self, commands: Sequence[Command] | None) -> float | None:
        clock = self._ports.clock
        if self._failures:
            return clock.jitter(min(_RETRY_S[1], _RETRY_S[0] * 2 ** min(self._failures, 8)))
        running = [entry for entry in self._entries.values() if not entry.finished]
        looks = [self._progress[entry.id].look_again_s for entry in running if entry.id in self._progress]
        # Without a list, what has no effect to look at waits for the list.
        blind = [_RETRY_S[0]] if running and commands is not None else []
        waits = [clock.jitter(min(looks), 0.1)] if looks else blind
        now = clock.now()
        for command in commands or ():
            if command.id not in self._entries:
                waits.append((command.deadline - now + timedelta(milliseconds=1)).total_seconds())
        return max(0.0, min(waits)) if waits else None


def commands_of(content: Any | None) -> tuple[Command, ...] | None:
    """The list that was told; None when none was. Raises MessageMalformed."""
    if content is None:
        return None
    listed = content.get("commands") if isinstance(content, dict) else None
    if not isinstance(listed, (list, tuple)):
        raise MessageMalformed("not a list of commands: commands")
    return tuple(one if isinstance(one, Command) else Command.from_json(one) for one in listed)


def unapproved_of(content: Any | None) -> Mapping[str, str]:
    """The commands that may not start yet, by id, each with what is missing: the agent's own word, not the list's."""
    return content.get("unapproved", {}) if isinstance(content, dict) else {}


def _name(step: Step) -> tuple[str, str]:
    match step:
        case Forget(ids):
            return ("forget", ",".join(ids))
        case End(entries):
            return ("end", ",".join(entry.id for entry in entries))
        case Start(command):
            return ("start", command.id)
        case Resume():
            return ("resume", step.entry.id)
        case Look(entry) | Abort(entry):
            return ("look", entry.id)


def _no_driver(entry: Entry) -> tuple[str, str]:
    return schema.PHASE_FAILED, f"this agent has no driver `{entry.driver}` any more"
