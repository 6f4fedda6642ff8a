"""The mailboxes `command`: one signed list of open commands a cluster, changed one change at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog

from fleetbus.controller import orders
from fleetbus.controller.audit import AuditChain, Author, Entry
from fleetbus.controller.decisions.approvals import Carried, Fitting, of_commands, with_one
from fleetbus.controller.decisions.edits import edits
from fleetbus.controller.fence import Fence
from fleetbus.controller.ports import Change, ClusterView
from fleetbus.controller.publish import uid_of
from fleetbus.controller.recent import parsed
from fleetbus.controller.seal import Seal
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.views import Known
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import subjects
from fleetbus.schemas.approvals import command_digest
from fleetbus.schemas.audit import OUTCOME_ORDERED
from fleetbus.schemas.capabilities.commands import EVENT_ISSUED, REASON_ISSUED, CommandOrder
from fleetbus.schemas.desired import Command, CommandList, next_serial
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import FleetbusError, NotFound, NotPossible, Refused, SequenceConflict, Transient
from fleetbus.schemas.events import Happened
from fleetbus.schemas.streams import DESIRED, EVENTS

_TIDY_EVERY_S = 600.0
_LOOK_BACK = timedelta(minutes=10)

Commands = tuple[Command, ...]

_log = structlog.get_logger("controller")


class CommandLists:
    """Writes command lists under the term."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        statuses: Statuses,
        fence: Fence,
        seal: Seal,
        time: ServerTime,
        audit: AuditChain,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._statuses = statuses
        self._fence = fence
        self._seal = seal
        self._time = time
        self._audit = audit
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._doubtful: set[subjects.ClusterId] = set()
        self._said: set[str] = set()
        self._say: Worklist[str] = Worklist(clock, self._say_issued, at_once=2)
        self._tell: Worklist[str] = Worklist(clock, self._tell_again, at_once=2)

    async def change(
        self, cluster: str, change: Callable[[Commands], Commands], audit: Entry | None = None
    ) -> None:
        """Publish what `change` makes of the cluster's list, unless it is the same and agents can read it.

        The audit record of what somebody asked for is written first: no order goes out without one.
        Raises NotFound, Refused, and BusUnavailable when it is not known whether it was written.
        """
        async with self._locks[cluster]:
            view = self._known.cluster(cluster)
            if view is None:
                raise NotFound(f"there is no cluster `{cluster[:63]}`", remedy="see `fleetbus get clusters`")
            if view.document.deleting:
                raise NotPossible(f"cluster {cluster} has left the fleet")
            if not uid_of(view):
                raise NotPossible(f"cluster {cluster} has never reported", remedy="start its agent first")
            if view.id in self._doubtful:
                await self._read_again(view.id)
            last = self._known.command_lists.get(view.id)
            # A name may be another cluster's by now, for which nobody has ordered what the former one was told.
            before = last.commands if last and last.cluster == uid_of(view) else ()
            after = change(before)
            if after == before and not self._is_unheard(view):
                return
            if audit is not None:
                await self._audit.write((), (audit,))
            carried = last.approvals if last else None
            await self._publish(view, after, of_commands(carried, [one.id for one in after], self._now()))

    async def carry(self, one: Fitting) -> None:
        """Have the cluster's list carry an approval of one of its commands.

        Raises NotPossible when it is not in the list any more, SequenceConflict, BusUnavailable.
        """
        view = one.cluster
        async with self._locks[view.id.name]:
            if view.id in self._doubtful:
                await self._read_again(view.id)
            last = self._known.command_lists.get(view.id)
            command = next((c for c in last.commands if c.id == one.approval.command), None) if last else None
            if last is None or command is None or command_digest(command) != one.approval.digest:
                raise NotPossible(
                    f"command {one.approval.command[:40]} is not in the list of cluster {view.id.name}",
                    remedy="see `fleetbus approve`",
                )
            await self._publish(view, last.commands, with_one(last.approvals, one.envelope, self._now()))

    async def _publish(self, view: ClusterView, commands: Commands, approvals: Carried) -> None:
        last, now = self._known.command_lists.get(view.id), self._now()
        new = CommandList(
            fleet=self._known.fleet,
            cluster=uid_of(view),
            epoch=self._fence.term.epoch,
            serial=next_serial(last.serial if last else 0, now),
            issued_at=now,
            commands=commands,
            approvals=approvals,
        )
        subject = subjects.command(view.id)
        self._doubtful.add(view.id)
        await self._fence.put([(subject, self._seal.sign(subject, new.to_bytes()))])
        self._doubtful.discard(view.id)
        self._known.put_commands(view.id, new)

    def _now(self) -> datetime:
        return self._time.to_sign()

    async def forget(self, cluster: subjects.ClusterId) -> None:
        """Take the list of a cluster that left away: what comes under its name was ordered nothing.

        Raises BusUnavailable.
        """
        async with self._locks[cluster.name]:
            view = self._known.cluster(cluster.name)
            if view is not None and view.id == cluster and not view.document.deleting:
                return
            await self._bus.purge(DESIRED.name, subjects.command(cluster))
            self._doubtful.discard(cluster)
            self._known.put_commands(cluster, None)

    async def _read_again(self, cluster: subjects.ClusterId) -> None:
        """What stands in a mailbox whose last write was not acknowledged: nothing that was told may be dropped.

        What the controller has not signed is no list, whoever put it there.
        """
        subject = subjects.command(cluster)
        last = await self._bus.get_last(DESIRED.name, subject)
        known = self._known.command_lists.get(cluster)
        try:
            told = CommandList.from_bytes(self._seal.opened(subject, last.data)) if last else None
        except FleetbusError as error:
            _log.warning("a forged command list is left out", cluster=str(cluster), reason=error.sentence())
            told = None
        if told is not None and (known is None or told.serial > known.serial):
            self._known.put_commands(cluster, told)
        self._doubtful.discard(cluster)

    async def issue(self, view: ClusterView, order: CommandOrder, author: Author) -> Command:
        """Put an order at the end of a cluster's list; that it was issued is said as soon as it stands there."""
        command = orders.ordered(order, self._clock.identifier(), self._time.to_sign(), author.by)
        results = view.results
        await self.change(
            view.id.name,
            lambda before: orders.added(before, command, results, self._time.to_sign()),
            ordered(
                author,
                command.id,
                {
                    "cluster": view.id.name,
                    "driver": command.driver,
                    "arguments": _shown(command.arguments),
                    "deadline": command.deadline.isoformat(),
                },
            ),
        )
        return command

    def changed(self, change: Change) -> None:
        """A list that was published, by whoever held the term: what is new in it is to be said.

        One that was displaced is told again.
        """
        if change.aspect == "published-commands":
            self._say.add(change.name)
        elif change.aspect == "displaced-command":
            self._tell.add(change.name)

    async def run(self) -> None:
        """Say in an event of every command that it was issued, each once, until cancelled."""
        for view in self._known.clusters():
            self._say.add(view.id.name)
            if self._is_unheard(view):
                self._tell.add(view.id.name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._say.run())
            tasks.create_task(self._tell.run())

    def _is_unheard(self, view: ClusterView) -> bool:
        """Whether no agent believes what stands in the mailbox: it was displaced, or is of an epoch that is over."""
        last = self._known.command_lists.get(view.id)
        is_over = last is not None and last.epoch != self._fence.term.epoch
        return is_over or ("command", view.id) in self._known.displaced

    async def _tell_again(self, cluster: str) -> None:
        """Raises BusUnavailable; it is tried again then."""
        with suppress(NotFound, Refused):
            await self.change(cluster, lambda before: before)

    async def _say_issued(self, cluster: str) -> None:
        """Raises BusUnavailable and SequenceConflict; it is tried again then."""
        view = self._known.cluster(cluster)
        if view is None or view.commands is None:
            return
        if view.document.deleting:
            # Whoever took it out of the fleet did not come so far.
            await self.forget(view.id)
            return
        since = self._time.to_sign() - _LOOK_BACK
        listed = [command for command in view.commands.commands if command.issued_at > since]
        unsaid = [command for command in listed if command.id not in self._said]
        if not unsaid:
            return
        key, before = view.document.key, self._known.status(view.document.key)
        # First what waits to be an event, then the events: what is in neither has not been said.
        said = _subjects(before) | await self._issued_since(since - _LOOK_BACK)
        happened = [one for command in unsaid if (one := _issued(view, command)).subject not in said]

        def amend(status: Status | None) -> Status | None:
            if status is not before:
                raise SequenceConflict("the status was written meanwhile", where=f"{key[0]} {key[1]}")
            known = status or Status(kind=key[0], name=key[1], uid=view.document.uid)
            if not happened:
                return None
            return known.model_copy(update={"outbox": known.outbox.with_(self._clock.now(), *happened)})

        await self._statuses.amend(key, amend)
        self._said |= {command.id for command in unsaid}

    async def _issued_since(self, since: datetime) -> set[str]:
        """What the events tell of commands that were issued."""
        subject = subjects.event(subjects.MAIN, subjects.FLEET, EVENT_ISSUED)
        events = await self._bus.get_many(EVENTS.name, subject, since=since, limit=10_000)
        return {event.subject for message in events if (event := parsed(message)) is not None}

    async def tidy(self) -> None:
        """Forget what ended long ago, for ever."""
        while True:
            for view in self._known.clusters():
                if view.commands and view.commands.commands and not view.document.deleting:
                    await self._forget(view.id.name)
            await self._clock.sleep(self._clock.jitter(_TIDY_EVERY_S))

    async def _forget(self, name: str) -> None:
        view = self._known.cluster(name)
        results = view.results if view else None
        try:
            await self.change(name, lambda before: orders.remaining(before, results, self._time.to_sign()))
        except (Transient, NotFound, Refused):
            return  # It is looked at again the next time.
        except Exception as error:  # The edge of the loop: one cluster's list must not stop the others.
            _log.error(
                "a list was not tidied", cluster=name, error=type(error).__name__, raised_at=raised_at(error)
            )


def _shown(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a driver without the values of an environment, which may not be for everybody's eyes."""
    return {
        key: sorted(value) if key == "environment" and isinstance(value, dict) else value
        for key, value in arguments.items()
    }


def ordered(author: Author, identifier: str, told: Mapping[str, Any]) -> Entry:
    """The entry for what a cluster is to be told of a command. Pure."""
    found, left_out = edits({}, told)
    return Entry(
        author=author,
        object=f"command/{identifier}",
        outcome=OUTCOME_ORDERED,
        edits=found,
        edits_left_out=left_out,
    )


def _issued(view: ClusterView, command: Command) -> Happened:
    because = f": {command.reason}" if command.reason else ""
    return Happened(
        type=EVENT_ISSUED,
        subject=f"command/{command.id}",
        reason=REASON_ISSUED,
        message=f"{command.driver} to {view.id.name}, by {command.issued_by}{because}",
        details={
            "cluster": view.id.name,
            "driver": command.driver,
            "by": command.issued_by,
            "why": command.reason,
        },
    )


def _subjects(status: Status | None) -> set[str]:
    pending = status.outbox.pending if status else ()
    return {one.subject for one in pending if one.type == EVENT_ISSUED}
