"""The protection of this cluster: its owner's object, what was accepted under it, and what waits for approvals.

Absence never lifts it: an object that is gone or not readable leaves the rules that were read last in force. Its owner
lifts it by saying so, with `required: 0`. The agent has no right to write the object, and the guard gives none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import structlog

from fleetbus.agent.approvals import (
    SEALED,
    Given,
    Memory,
    Rules,
    begun,
    given,
    judge_commands,
    judge_head,
    of_change,
    parse_memory,
    parse_rules,
)
from fleetbus.agent.ports import Identity, Keep, Rule
from fleetbus.agent.settings import NAMESPACE
from fleetbus.agent.standing import Standing
from fleetbus.agent.text import cut
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.approvals import (
    COMMAND,
    MAX_CARRIED,
    PROTECTION_NAME,
    PRUNE,
    SET,
    ApprovalKind,
    Approver,
    ProtectionState,
    Waiting,
    approvals_missing,
    command_digest,
)
from fleetbus.schemas.desired import Command, CommandList, Head
from fleetbus.schemas.errors import ApplyRefused, NotFound, SettingsInvalid

PROTECTION = Resource("agent.fleetbus.dev", "v1alpha1", "protections", "Protection", True)
NEEDS = (Rule((PROTECTION.group,), (PROTECTION.plural,), ("get", "list", "watch"), home=True),)
KEY = "approvals"
LOOK_EVERY_S = 300.0
FORBIDDEN_EVERY_S = 5.0
_MAX_NAMED = 64
_GONE = "it is gone; its last rules hold until its owner lifts them with `required: 0`"
_USED_UP = "it was in this list before: its approvals are used up; order it anew"
_FORBIDDEN = "the agent may not read it: apply the agent's manifests anew"

log = structlog.get_logger("protection")


class Protection:
    """Asked before anything new counts. Where the owner asks for nothing it says yes, and keeps nothing."""

    def __init__(
        self,
        kube: Kube,
        keep: Keep,
        clock: Clock,
        identity: Identity,
        standing: Standing,
        accepted_head: Callable[[], str],
    ) -> None:
        """`accepted_head`: digest of the head that was accepted last."""
        self._kube = kube
        self._keep = keep
        self._clock = clock
        self._identity = identity
        self._standing = standing
        self._accepted_head = accepted_head
        self._kept = parse_memory(keep.kept(KEY))
        self._memory = self._kept
        self._trouble = ""
        self._set_waiting: Waiting | None = None
        self._commands_waiting: list[tuple[datetime, Waiting]] = []
        """With the deadlines, after which they wait no longer."""
        self._held: dict[str, int] = {}
        self._prunes_given: list[Given] = []
        self._due = asyncio.Event()
        self._changing = asyncio.Lock()
        self.rules_changed: Callable[[], None] = lambda: None
        """Called when what the mailboxes hold is to be judged anew."""
        self.prunes_changed: Callable[[], None] = lambda: None
        """Called when more may be removed than before."""

    @property
    def asks(self) -> bool:
        """Whether anything needs approvals here."""
        return self._memory is not None

    @property
    def set(self) -> str:
        """The set that counts, of a cluster that asks; empty for none yet."""
        return self._memory.set if self._memory is not None else ""

    # the owner's object

    async def look(self) -> None:
        """Read the object and follow it. Raises KubeUnavailable, and KubeConflict when it could not be kept."""
        self._due.clear()
        rules, trouble = await self._read()
        async with self._changing:
            is_new = await self._follow(rules, trouble)
        self._tell()
        if is_new:
            log.info("protection", required=rules.required if rules else 0, trouble=trouble)
            self.rules_changed()
            self.prunes_changed()

    async def _follow(self, rules: Rules | None, trouble: str) -> bool:
        """Whether the rules, or what is wrong with them, are others than before."""
        before = self._memory
        # What may not be read may not be there at all: it holds until that is known, and is not kept.
        durably = trouble != _FORBIDDEN or self._kept is not None
        if rules is None:
            await self._remember(None)
            self._forget_what_waits()
        elif before is None:
            accepted = self._standing.accepted_set, self._accepted_head()
            await self._remember(begun(rules, *accepted, self._clock.now()), durably=durably)
        else:
            await self._remember(replace(before, rules=rules), durably=durably)
        is_new = (before and before.rules, self._trouble) != (rules, trouble)
        self._trouble = trouble
        return is_new

    async def follow(self) -> None:
        """For ever: look when it changes, and now and then."""

        async def step() -> float:
            await self.look()
            now = self._clock.now()
            ends_s = [(at - now).total_seconds() + 1.0 for at, _ in self._commands_waiting if at >= now]
            # An apiserver that has just started may forbid what it will allow.
            every_s = FORBIDDEN_EVERY_S if self._trouble == _FORBIDDEN else LOOK_EVERY_S
            return min([self._clock.jitter(every_s), *ends_s])

        async def wake() -> None:
            await self._due.wait()

        async with asyncio.TaskGroup() as group:
            judged = self._standing.judge("protection")
            group.create_task(repeat("protection", step, self._clock, wake=wake, judged=judged))
            group.create_task(self._watch())

    async def _watch(self) -> None:
        async with aclosing(self._kube.watch(PROTECTION, namespace=NAMESPACE)) as events:
            async for event in events:
                if event.type != "SYNCED":
                    self._due.set()

    async def _read(self) -> tuple[Rules | None, str]:
        """The rules that hold now (None: nobody asks for approvals), and what is wrong with the object."""
        last = self._kept.rules if self._kept is not None else None
        try:
            found = await self._kube.get(PROTECTION, NAMESPACE, PROTECTION_NAME)
            rules = parse_rules(found.get("spec"))
        except NotFound:
            return last, _GONE if last is not None else ""
        except ApplyRefused:
            return last or SEALED, _FORBIDDEN
        except SettingsInvalid as error:
            return last or SEALED, cut(f"{error.message}; its last rules hold until it is mended")
        return (rules if rules.required else None), ""

    # what is told

    async def admit(self, head: Head, head_digest: str, *, only_less: bool = False) -> str:
        """The set that counts now: the head's, or the one that was accepted before it; kept before it is given.

        `only_less`: the head's set tells nothing that the one before does not.
        """
        async with self._changing:
            if self._memory is None:
                return head.set
            before, now = self._memory, self._clock.now()
            found = given(head.approvals, before.rules, self._identity, now)
            judged = judge_head(head, head_digest, found, before, now, only_less=only_less)
            after = judged.memory
            await self._remember(after, durably=self._kept is not None)
        self._set_waiting = None
        if after.set != head.set:
            self._set_waiting = self._waiting(SET, head.set, judged.approved_by)
        if after.turn != before.turn:
            log.info("set approved", set=head.set[:12], turn=after.turn)
            self._held.clear()
        self._prunes_given = of_change(found, after, PRUNE, after.set)
        self._tell()
        if after.prunes != before.prunes:
            self.prunes_changed()
        return after.set

    async def admit_commands(self, told: CommandList, begun: Collection[str]) -> dict[str, str]:
        """The commands that may not start, by id, each with a sentence; kept before it is given.

        `begun`: ids of those that have started or ended.
        """
        async with self._changing:
            if self._memory is None:
                return {}
            before, now = self._memory, self._clock.now()
            found = given(told.approvals, before.rules, self._identity, now)
            judged = judge_commands(told.commands, found, before, now, begun)
            await self._remember(judged.memory, durably=self._kept is not None)
        waits: dict[str, Waiting] = {}
        self._commands_waiting = []
        for command in told.commands:
            if command.id in judged.waiting and command.id not in waits:
                one = self._waiting_command(command, judged.waiting[command.id])
                waits[command.id] = one
                self._commands_waiting.append((command.deadline, one))
        self._tell()
        self._due.set()
        return {
            id_: _USED_UP if id_ in judged.used_up else approvals_missing(one, self._identity.cluster.name)
            for id_, one in waits.items()
        }

    def may_prune(self, bundle: str, count: int) -> bool:
        """Whether so many objects of a bundle may go now; what may not waits for approvals from here on."""
        if self._memory is None:
            return True
        is_agreed = count <= self._memory.prunes.get(bundle, 0)
        held = {**self._held, bundle: count}
        if is_agreed:
            del held[bundle]
        if held != self._held:
            self._held = held
            self._tell()
        return is_agreed

    # what is remembered and reported

    async def _remember(self, memory: Memory | None, *, durably: bool = True) -> None:
        if durably and memory != self._kept:
            await self._keep.keep({KEY: memory.kept() if memory is not None else None})
            self._kept = memory
        self._memory = memory

    def _forget_what_waits(self) -> None:
        self._set_waiting, self._commands_waiting, self._prunes_given = None, [], []
        self._held.clear()

    def _waiting_command(self, command: Command, keys: frozenset[str]) -> Waiting:
        return self._waiting(COMMAND, command_digest(command), keys, command=command.id)

    def _waiting(
        self,
        kind: ApprovalKind,
        digest: str,
        keys: Collection[str],
        *,
        command: str = "",
        prunes: Mapping[str, int] = {},
    ) -> Waiting:
        rules = self._rules
        return Waiting(
            kind=kind,
            # Whoever tells it may have made it as long as he likes.
            digest=digest[:_MAX_NAMED],
            command=command[:_MAX_NAMED],
            need=rules.required,
            approved_by=tuple(sorted(rules.approvers[key] for key in keys if key in rules.approvers)),
            prunes=dict(prunes),
        )

    def _prune_waiting(self, bundle: str, count: int) -> Waiting:
        """Of one bundle: each is approved by itself."""
        assert self._memory is not None
        keys = {one.key for one in self._prunes_given if one.here.prunes.get(bundle, 0) >= count}
        return self._waiting(PRUNE, self._memory.set, keys, prunes={bundle: count})

    @property
    def _rules(self) -> Rules:
        assert self._memory is not None
        return self._memory.rules

    def _tell(self) -> None:
        memory = self._memory
        if memory is None:
            self._standing.protect(None)
            return
        waiting = [self._set_waiting] if self._set_waiting else []
        now = self._clock.now()
        waiting += [one for deadline, one in self._commands_waiting if deadline >= now]
        waiting += [self._prune_waiting(bundle, count) for bundle, count in sorted(self._held.items())]
        state = ProtectionState(
            required=memory.rules.required,
            approvers=tuple(Approver(name=name, key=key) for key, name in memory.rules.approvers.items()),
            turn=memory.turn,
            set=memory.set,
            waiting=tuple(waiting[:MAX_CARRIED]),
            trouble=self._trouble,
        )
        self._standing.protect(state)
