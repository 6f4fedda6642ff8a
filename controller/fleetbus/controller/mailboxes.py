"""Whether the clusters' mailboxes still hold what was told last.

Whoever owns the bus can write over a mailbox, empty it, or put an earlier word of ours back; no agent believes him, but
none is told anything any more either. So what a follower could not take is looked at at once, and all mailboxes now
and then, since nobody tells of a message that was taken away. What was displaced is told again, under a new serial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from fleetbus.controller.seal import Seal
from fleetbus.controller.views import Known
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Message
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import CommandList, Head, newer
from fleetbus.schemas.errors import FleetbusError, Transient
from fleetbus.schemas.streams import DESIRED
from fleetbus.schemas.subjects import ClusterId

LOOK_EVERY_S = 600.0
SPACING_S = 2.0
"""At least so long between two looks at one mailbox: who writes over it without end is not answered as often."""
_MOST = 1_000_000

Mailbox = tuple[str, ClusterId]
"""One of subjects.MAILBOXES, and whose."""

_SUBJECTS: Mapping[str, Callable[[ClusterId], str]] = {
    "desired": subjects.desired,
    "command": subjects.command,
}
_ALL: Mapping[str, str] = {"desired": subjects.ALL_HEADS, "command": subjects.ALL_COMMANDS}

_log = structlog.get_logger("controller")


def is_displaced(subject: str, found: Message | None, told: Head | CommandList | None, seal: Seal) -> bool:
    """Whether a mailbox that holds `found` lacks what was told last. What is newer has yet to be followed. Pure."""
    if found is None:
        return told is not None
    model = Head if subject == subjects.desired(_owner(subject)) else CommandList
    try:
        stands = model.from_bytes(seal.opened(subject, found.data))
    except FleetbusError:
        return True
    return told is not None and newer(told, (stands.epoch, stands.serial))


def _owner(subject: str) -> ClusterId:
    return mailbox_of(subject)[1]


def mailbox_of(subject: str) -> Mailbox:
    """Raises KeyError for any other subject."""
    for which in subjects.MAILBOXES:
        cluster = subjects.parse_cluster(subject, which)
        if cluster is not None:
            return which, cluster
    raise KeyError(subject)


class Mailboxes:
    """Tells `known` of mailboxes that were displaced, for the length of one term."""

    def __init__(self, bus: Bus, clock: Clock, known: Known, seal: Seal) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._seal = seal
        self._doubts: Worklist[str] = Worklist(clock, self._check, at_once=2, spacing_s=lambda: SPACING_S)

    def doubt(self, subject: str) -> None:
        """A message that was not taken is, or was, in this mailbox; any other subject is nothing of ours."""
        if any(subjects.parse_cluster(subject, which) for which in subjects.MAILBOXES):
            self._doubts.add(subject)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._doubts.run())
            tasks.create_task(self._look_around())

    async def _look_around(self) -> None:
        while True:
            await self._clock.sleep(self._clock.jitter(LOOK_EVERY_S))
            try:
                for which in subjects.MAILBOXES:
                    await self._look(which)
            except Transient as error:
                _log.info("the mailboxes were not looked at", reason=error.sentence())

    async def _look(self, which: str) -> None:
        """What differs in this reading, which may be a lagging server's, is looked at once more, each by itself."""
        told = dict(self._told(which))
        read = await self._bus.get_many(DESIRED.name, _ALL[which], limit=_MOST)
        found = {message.subject: message for message in read}
        for cluster, one in told.items():
            subject = _SUBJECTS[which](cluster)
            if is_displaced(subject, found.get(subject), one, self._seal):
                self._doubts.add(subject)

    async def _check(self, subject: str) -> None:
        which, cluster = mailbox_of(subject)
        found = await self._bus.get_last(DESIRED.name, subject)
        if is_displaced(subject, found, self._told(which).get(cluster), self._seal):
            _log.warning("a mailbox was displaced, and is told again", mailbox=subject)
            self._known.put_displaced(which, cluster)

    def _told(self, which: str) -> Mapping[ClusterId, Head | CommandList]:
        return self._known.heads if which == "desired" else self._known.command_lists
