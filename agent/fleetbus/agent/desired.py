"""The two mailboxes: read, verify, refuse what is not newer, keep what was accepted, hand it to the capabilities.

A nudge says only that there is something to read; what is read is believed by its signature alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from fleetbus.agent.acceptance import (
    Accepted,
    AcceptedCommands,
    AcceptedHead,
    accept_commands,
    accept_head,
    lapsed,
    of_root,
    parse_accepted,
)
from fleetbus.agent.admission import Admission, Withdraws
from fleetbus.agent.capabilities.commands import journal
from fleetbus.agent.charter import Trusted
from fleetbus.agent.instructions import Instructions
from fleetbus.agent.ports import Artifacts, Keep
from fleetbus.agent.protection import Protection
from fleetbus.agent.settings import AgentSettings
from fleetbus.agent.standing import Standing
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.loop import both, repeat
from fleetbus.runtime.ports import Bus, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities.commands import CAPABILITY as COMMANDS
from fleetbus.schemas.desired import DesiredSet, Head, Retired, SectionRef
from fleetbus.schemas.errors import BusUnavailable, Refused, Stale
from fleetbus.schemas.signing import verify
from fleetbus.schemas.streams import DESIRED

LOOK_EVERY_S = 60.0
_READS = 12
_FIRST_PAUSE_S = 0.002
_STALE_READS = 4
_LAGGING_READS = 40
"""When there was a later message already: then a server lags, or its stream was set back."""
_STALE_AGAIN_S = 0.5

log = structlog.get_logger("desired")


def kept_key(which: str) -> str:
    return f"mailbox-{which}"


def accepted_head(keep: Keep) -> str:
    """Digest of the head that was accepted last, by this process or one before it; empty for none."""
    kept = keep.kept(kept_key("desired"))
    return str(kept.get("digest", "")) if kept else ""


@dataclass(slots=True)
class _Mailbox:
    """One mailbox: its subject, what was accepted, the sequence that must be seen and that was dealt with."""

    which: str
    subject: str
    accepted: Accepted
    kept: Accepted
    """What is known to be kept; `accepted` may be ahead of it."""
    wanted: int = 0
    done: int = 0
    judged_by: tuple[int, int] = (0, 0)
    """The charter that counted then."""
    stale_reads: int = 0
    head: Head | None = None
    """The head that counts."""
    refused: bool = False
    """Whether the newest message was refused, and that is what is said."""
    due: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, sequence: int = 0) -> None:
        self.wanted = max(self.wanted, sequence)
        self.due.set()

    async def wait_due(self) -> None:
        await self.due.wait()


def _mailbox(which: str, subject: str, accepted: Accepted) -> _Mailbox:
    return _Mailbox(which, subject, accepted, accepted)


@dataclass(frozen=True, slots=True)
class Sections:
    """What this agent can read: capability → highest section version, and the artifacts that a content names."""

    versions: Mapping[str, int]
    names: Mapping[str, Callable[[Any], Sequence[str]]] = field(default_factory=dict)
    withdraws: Withdraws = field(default_factory=dict)
    """By capability: what is left of an accepted section when a newer one that is not approved takes some away."""

    def understands(self, name: str, ref: SectionRef) -> bool:
        return name != COMMANDS and ref.version <= self.versions.get(name, -1)


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading needs: the ports, whose mailboxes they are, whose word counts, and where the accepted goes."""

    settings: AgentSettings
    trusted: Trusted
    bus: Bus
    keep: Keep
    artifacts: Artifacts
    clock: Clock
    instructions: Instructions
    standing: Standing
    sections: Sections
    protection: Protection


_Take = Callable[[Reader, _Mailbox, bytes], Awaitable[None]]
"""Raises Refused at once; what it gives delivers the message."""


async def follow_mailboxes(reader: Reader) -> None:
    """For ever: look at start, on every nudge and connection, and now and then, since nudges get lost."""
    cluster, epoch, root = reader.settings.identity.cluster, reader.trusted.epoch, reader.settings.root
    boxes = {
        which: _mailbox(
            which, subject, parse_accepted(of_root(reader.keep.kept(kept_key(which)), root), epoch)
        )
        for which, subject in (("desired", subjects.desired(cluster)), ("command", subjects.command(cluster)))
    }
    takes: dict[str, _Take] = {"desired": _take_head, "command": _take_commands}
    reader.protection.rules_changed = partial(_look_anew, boxes)
    async with asyncio.TaskGroup() as group:
        group.create_task(repeat("nudges", lambda: _listen(reader, boxes), reader.clock))
        group.create_task(repeat("connections", lambda: _follow_connections(reader, boxes), reader.clock))
        group.create_task(repeat("trust", lambda: _follow_trust(reader, boxes), reader.clock))
        for which, box in boxes.items():
            step = partial(_look, reader, box, takes[which])
            judged = reader.standing.judge(which)
            group.create_task(repeat(which, step, reader.clock, wake=box.wait_due, judged=judged))


def _look_anew(boxes: Mapping[str, _Mailbox]) -> None:
    """Judge what the mailboxes hold again, though it is what they held before."""
    for box in boxes.values():
        box.done = 0
        box.look()


async def _listen(reader: Reader, boxes: Mapping[str, _Mailbox]) -> None:
    cluster = reader.settings.identity.cluster
    async with reader.bus.subscribe(subjects.nudges(cluster), capacity=64) as nudges:
        for box in boxes.values():
            box.look()
        async for message in nudges:
            parsed = subjects.parse_nudge(message.subject)
            if parsed is not None and parsed[0] == cluster and is_about(message, boxes[parsed[1]].subject):
                boxes[parsed[1]].look(message.sequence)


def is_about(message: Message, mailbox: str) -> bool:
    """Whether the server says that this nudge is about our mailbox.

    Another agent can have the server answer a direct get of its own on our nudge's subject; the headers of that
    name the stream and subject that it could read, which is never our mailbox.
    """
    headers = message.headers
    return headers.get("Nats-Stream") == DESIRED.name and headers.get("Nats-Subject") == mailbox


async def _follow_connections(reader: Reader, boxes: Mapping[str, _Mailbox]) -> None:
    seen = reader.bus.connection
    while True:
        seen = await reader.bus.connection_changed(seen)
        for box in boxes.values():
            box.look()


async def _follow_trust(reader: Reader, boxes: Mapping[str, _Mailbox]) -> None:
    """Another charter counts: what was refused by the one before is looked at again."""
    while True:
        seen = reader.trusted.order
        reader.standing.trust(seen)
        for box in boxes.values():
            box.look()
        await reader.trusted.wait_newer(seen)


async def _look(reader: Reader, box: _Mailbox, take: _Take) -> float:
    box.due.clear()
    message, charter = await _read(reader, box), reader.trusted.order
    if message is not None and (message.sequence, charter) != (box.done, box.judged_by):
        try:
            content = verify(box.subject, message.data, reader.trusted.keys)
            deliver = take(reader, box, content)
        except Stale as error:
            if box.stale_reads < (_LAGGING_READS if message.sequence < box.done else _STALE_READS):
                # A replica that lags shows what was true before; it is given time before it is a refusal.
                box.stale_reads += 1
                return reader.clock.jitter(_STALE_AGAIN_S)
            _refuse(reader, box, error)
        except Refused as error:
            _refuse(reader, box, error)
        else:
            box.stale_reads = 0
            _unrefuse(reader, box)
            # What fails from here on is tried again: the message stays undone, and the old word stands.
            await deliver
        box.done, box.judged_by = message.sequence, charter
    elif message is None:
        box.done = 0
        _unrefuse(reader, box)
    if box.head is not None and not box.refused:
        reader.standing.refuse(box.which, lapsed(box.head, reader.clock.now()))
    return reader.clock.jitter(LOOK_EVERY_S)


def _refuse(reader: Reader, box: _Mailbox, error: Refused) -> None:
    reader.standing.refuse(box.which, described(error))
    log.warning("message refused", mailbox=box.which, reason=error.reason, message=error)
    box.refused, box.stale_reads = True, 0
    reader.trusted.doubt()


def _unrefuse(reader: Reader, box: _Mailbox) -> None:
    """What was refused is not there any more."""
    if box.refused:
        box.refused = False
        reader.standing.refuse(box.which, "")


async def _read(reader: Reader, box: _Mailbox) -> Message | None:
    """The mailbox's last value, at least as new as the newest nudge; a replica may lag for a moment.

    Raises BusUnavailable when it stays behind.
    """
    wanted, pause_s = box.wanted, _FIRST_PAUSE_S
    for _ in range(_READS):
        message = await reader.bus.get_last(DESIRED.name, box.subject)
        if (message.sequence if message else 0) >= wanted:
            return message
        await reader.clock.sleep(reader.clock.jitter(pause_s))
        pause_s = min(pause_s * 2, 0.5)
    # Purged since, or the nudge was forged: the next look takes what stands there.
    box.wanted = 0
    raise BusUnavailable("the mailbox is older than its own nudge", where=box.subject)


def _take_head(reader: Reader, box: _Mailbox, content: bytes) -> Awaitable[None]:
    found = accept_head(content, box.accepted, reader.settings.identity, reader.clock.now())
    reader.trusted.expect_epoch(found.head.epoch, "head")
    # Halts count from the moment they are known, whether or not the set can be fetched.
    reader.instructions.halt(found.head.halts)
    return _deliver_head(reader, box, found)


async def _deliver_head(reader: Reader, box: _Mailbox, found: AcceptedHead) -> None:
    admission = Admission(reader.protection, reader.artifacts, reader.sections.withdraws)
    counting = await admission.admit(found.head, found.accepted.digest)
    _, (told, sections) = await both(_keep(reader, box, found.accepted), _fetch(reader, counting.set))
    retired: dict[str, list[Retired]] = {}
    for one in told.retired:
        retired.setdefault(one.capability, []).append(one)
    for name in reader.sections.versions:
        ref = told.sections.get(name)
        if name != COMMANDS and (ref is None or name in sections):
            content, digest = sections.get(name), ref.digest if ref else ""
            if name in counting.left:
                content, digest = counting.left[name], f"{digest} without what {found.head.set} takes away"
            reader.instructions.tell(name, content, retired.get(name, ()), digest)
    unknown = tuple(sorted(name for name in told.sections if name not in sections))
    head = found.head
    reader.standing.accept((head.epoch, head.serial), counting.set, unknown)
    box.head = head
    log.info("head accepted", epoch=head.epoch, serial=head.serial, set=counting.set[:12], again=found.again)


async def _fetch(reader: Reader, name: str) -> tuple[DesiredSet, dict[str, Any]]:
    """The set, and the content of each section that this agent understands; nothing of no set."""
    if not name:
        return DesiredSet(), {}
    told = DesiredSet.from_bytes(await reader.artifacts.fetch(name))
    wanted = {key: ref for key, ref in told.sections.items() if reader.sections.understands(key, ref)}
    contents = await asyncio.gather(*(reader.artifacts.fetch(ref.digest) for ref in wanted.values()))
    sections = {key: parse_json(content) for key, content in zip(wanted, contents, strict=True)}
    named = {name for key, content in sections.items() for name in _named(reader, key, content)}
    # Only to have them at hand: who needs one that is missing says so himself.
    await asyncio.gather(*(reader.artifacts.fetch(one) for one in sorted(named)), return_exceptions=True)
    return told, sections


def _named(reader: Reader, capability: str, content: Any) -> Sequence[str]:
    names = reader.sections.names.get(capability)
    return names(content) if names else ()


def _take_commands(reader: Reader, box: _Mailbox, content: bytes) -> Awaitable[None]:
    found = accept_commands(content, box.accepted, reader.settings.identity)
    reader.trusted.expect_epoch(found.commands.epoch, "command list")
    return _deliver_commands(reader, box, found)


async def _deliver_commands(reader: Reader, box: _Mailbox, found: AcceptedCommands) -> None:
    unapproved: dict[str, str] = {}
    if reader.protection.asks:
        begun = journal.from_json(reader.keep.kept(journal.KEY))
        unapproved = await reader.protection.admit_commands(found.commands, begun)
    await _keep(reader, box, found.accepted)
    commands = [command.as_json() for command in found.commands.commands]
    told = {"commands": commands, "unapproved": unapproved}
    reader.instructions.tell(COMMANDS, told, (), (found.accepted.digest, tuple(sorted(unapproved.items()))))
    reader.standing.refuse(box.which, "")


async def _keep(reader: Reader, box: _Mailbox, accepted: Accepted) -> None:
    # Counts at once: a write whose answer is lost may stand, and what is older must not follow it.
    box.accepted = accepted
    if accepted != box.kept:
        await reader.keep.keep({kept_key(box.which): {**accepted.kept(), "root": reader.settings.root}})
        box.kept = accepted
