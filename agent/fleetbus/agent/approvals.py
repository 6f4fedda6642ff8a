"""Whether enough approvers have signed for what a protected cluster is told. Pure.

An approval counts only if it is of exactly this: this fleet and cluster, this kind, these bytes, and, for a set, the
change from the very set and turn at which the cluster stands. So none counts twice, after it has expired, or elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from fleetbus.agent.ports import Identity
from fleetbus.schemas.approvals import (
    AHEAD_S,
    COMMAND,
    MAX_APPROVERS,
    MAX_CARRIED,
    MAX_CLUSTERS,
    MAX_VALID_S,
    PRUNE,
    SET,
    Approval,
    ApprovalKind,
    ApprovedCluster,
    command_digest,
    read_approval,
)
from fleetbus.schemas.desired import CONTRACT, Command, Head
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import verify_key

_MAX_NAME = 63


@dataclass(frozen=True, slots=True)
class Rules:
    """How many approvers must sign, and who they are: public key → name. More required than there are: nobody can."""

    required: int
    approvers: Mapping[str, str]


SEALED = Rules(1, {})
"""Of an object that was never readable: nothing is accepted until its owner has mended it."""


def parse_rules(spec: Any) -> Rules:
    """The rules in a Protection's spec; `required: 0` lifts it. Raises SettingsInvalid, saying what is wrong."""
    if not isinstance(spec, Mapping):
        raise SettingsInvalid("it has no `spec`")
    required, listed = spec.get("required"), spec.get("approvers") or []
    if not isinstance(required, int) or isinstance(required, bool) or required < 0:
        raise SettingsInvalid("`spec.required` is not a number of approvers")
    if not isinstance(listed, list) or len(listed) > MAX_APPROVERS:
        raise SettingsInvalid(f"`spec.approvers` is not a list of at most {MAX_APPROVERS}")
    approvers: dict[str, str] = {}
    for number, one in enumerate(listed):
        name, key = (one.get("name"), one.get("key")) if isinstance(one, Mapping) else (None, None)
        if not isinstance(name, str) or not name or len(name) > _MAX_NAME or not name.isprintable():
            raise SettingsInvalid(f"`spec.approvers[{number}].name` is not a name")
        if not isinstance(key, str) or not _is_key(key):
            raise SettingsInvalid(f"`spec.approvers[{number}].key` is not a public key `U…`")
        if key in approvers or name in approvers.values():
            raise SettingsInvalid(
                f"`spec.approvers[{number}]` stands twice: each has a name and a key of his own"
            )
        approvers[key] = name
    if required > len(approvers):
        raise SettingsInvalid(f"`spec.required` is {required}, and there are {len(approvers)} approvers")
    return Rules(required, approvers)


def _is_key(text: str) -> bool:
    try:
        verify_key(text)
    except SettingsInvalid:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command that was accepted. `until`: when the last approval of it ends. `left`: it has left the list since."""

    digest: str
    until: datetime
    left: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What a protected cluster must not forget.

    `set`: what counts, accepted at `turn`. `head`: digest of the head that had been accepted before the protection was
    seen; its set counts as well. `prunes`: how many objects of each bundle may go while this set counts.
    """

    rules: Rules
    turn: int = 0
    set: str = ""
    head: str = ""
    prunes: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, Ordered] = field(default_factory=dict)

    def kept(self) -> dict[str, Any]:
        return {
            "required": self.rules.required,
            "approvers": dict(self.rules.approvers),
            "turn": self.turn,
            "set": self.set,
            "head": self.head,
            "prunes": dict(self.prunes),
            "commands": {
                id_: {"digest": one.digest, "until": one.until.isoformat(), "left": one.left}
                for id_, one in self.commands.items()
            },
        }


def begun(rules: Rules, accepted_set: str, accepted_head: str, now: datetime) -> Memory:
    """The memory of a cluster whose protection is seen for the first time: what was accepted before counts.

    Turns are never fewer than the milliseconds, so that who has lost his memory takes no approval a second time.
    """
    return Memory(rules, turn=int(now.timestamp() * 1000), set=accepted_set, head=accepted_head)


def parse_memory(kept: Mapping[str, Any] | None) -> Memory | None:
    """Inverse of `kept`; None for a cluster that was never protected. What cannot be read stays protected, sealed."""
    if kept is None:
        return None
    try:
        return Memory(
            Rules(int(kept["required"]), {str(key): str(name) for key, name in kept["approvers"].items()}),
            turn=int(kept["turn"]),
            set=str(kept["set"]),
            head=str(kept["head"]),
            prunes={str(id_): int(count) for id_, count in kept["prunes"].items()},
            commands={
                str(id_): Ordered(str(one["digest"]), datetime.fromisoformat(one["until"]), bool(one["left"]))
                for id_, one in kept["commands"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return Memory(SEALED)


@dataclass(frozen=True, slots=True)
class Given:
    """An approval that a listed approver has signed for this cluster, and that is valid now."""

    key: str
    approval: Approval
    here: ApprovedCluster


def given(envelopes: Sequence[str] | None, rules: Rules, identity: Identity, now: datetime) -> list[Given]:
    """What counts at all, of what a head or a list carries."""
    found: list[Given] = []
    for envelope in (envelopes or ())[:MAX_CARRIED]:
        for key in rules.approvers:
            approval = read_approval(envelope, key)
            if approval is None or not _is_valid(approval, identity, now):
                continue
            found += [
                Given(key, approval, here)
                for here in approval.clusters
                if (here.cluster, here.uid) == (str(identity.cluster), identity.uid)
            ]
    return found


def _is_valid(approval: Approval, identity: Identity, now: datetime) -> bool:
    return (
        approval.contract <= CONTRACT
        and approval.fleet == identity.fleet
        and len(approval.clusters) <= MAX_CLUSTERS
        and approval.issued_at <= now + timedelta(seconds=AHEAD_S)
        and approval.expires_at > now
        and approval.expires_at - approval.issued_at <= timedelta(seconds=MAX_VALID_S)
    )


def of_change(found: Sequence[Given], memory: Memory, kind: ApprovalKind, digest: str) -> list[Given]:
    """Those of a set (or of a prune under it) from where the cluster stands now."""
    return [
        one
        for one in found
        if (one.approval.kind, one.approval.digest) == (kind, digest)
        and (one.here.turn, one.here.before) == (memory.turn, memory.set)
    ]


def of_command(found: Sequence[Given], id_: str, digest: str) -> list[Given]:
    return [
        one
        for one in found
        if (one.approval.kind, one.approval.command, one.approval.digest) == (COMMAND, id_, digest)
    ]


def signers(found: Sequence[Given]) -> frozenset[str]:
    return frozenset(one.key for one in found)


def enough(found: Sequence[Given], rules: Rules) -> bool:
    return rules.required > 0 and len(signers(found)) >= rules.required


def agreed_prunes(found: Sequence[Given], required: int) -> dict[str, int]:
    """Bundle id → the greatest count to which at least `required` approvers have agreed."""
    told: dict[str, dict[str, int]] = {}
    for one in found:
        for id_, count in one.here.prunes.items():
            by_key = told.setdefault(id_, {})
            by_key[one.key] = max(count, by_key.get(one.key, 0))
    return {
        id_: sorted(by_key.values(), reverse=True)[required - 1]
        for id_, by_key in told.items()
        if len(by_key) >= required
    }


@dataclass(frozen=True, slots=True)
class Judged:
    """What comes of a head or a list: the memory after it, and what is still missing its approvals."""

    memory: Memory
    approved_by: frozenset[str] = frozenset()
    """Keys of those whose approval of the set counts so far."""


def judge_head(
    head: Head,
    head_digest: str,
    found: Sequence[Given],
    memory: Memory,
    now: datetime,
    *,
    only_less: bool = False,
) -> Judged:
    """Whose set counts from here on: the head's if it is approved, or was accepted before; else the one that did.

    `only_less`: the head's set tells nothing that the one before it does not, which takes no approval and no turn.
    """
    if only_less or (memory.head and memory.head == head_digest):
        # The latter was accepted while nobody asked for approvals: that it counts is nothing new.
        memory = replace(memory, set=head.set)
    if head.set != memory.set:
        changes = of_change(found, memory, SET, head.set)
        if not enough(changes, memory.rules):
            return Judged(memory, signers(changes))
        turn = max(memory.turn + 1, int(now.timestamp() * 1000))
        agreed = agreed_prunes(changes, memory.rules.required)
        memory = replace(memory, turn=turn, set=head.set, head="", prunes=agreed)
    prunes = agreed_prunes(of_change(found, memory, PRUNE, memory.set), memory.rules.required)
    most = {id_: max(count, memory.prunes.get(id_, 0)) for id_, count in prunes.items()}
    return Judged(replace(memory, prunes={**memory.prunes, **most}))


@dataclass(frozen=True, slots=True)
class JudgedCommands:
    """`waiting`: command id → keys of those whose approval counts so far. `used_up`: ids that were ordered before."""

    memory: Memory
    waiting: Mapping[str, frozenset[str]] = field(default_factory=dict)
    used_up: frozenset[str] = frozenset()


def judge_commands(
    commands: Sequence[Command],
    found: Sequence[Given],
    memory: Memory,
    now: datetime,
    begun: Collection[str] = (),
) -> JudgedCommands:
    """Which commands may start. One that left the list and comes back may not: its approvals are used up.

    `begun`: ids of those that have started or ended, which nobody need approve any more.
    """
    listed: dict[str, Command] = {}
    for command in commands:
        # Of an id that stands twice the first counts, as where it is started.
        listed.setdefault(command.id, command)
    known: dict[str, Ordered] = {}
    for id_, one in memory.commands.items():
        has_left = one.left or id_ not in listed
        if not has_left or one.until > now or id_ in listed:
            known[id_] = replace(one, left=has_left)
    waiting: dict[str, frozenset[str]] = {}
    for id_, command in listed.items():
        digest, ordered = command_digest(command), known.get(id_)
        if id_ in begun or command.cancelled:
            continue
        if ordered is not None and (ordered.digest, ordered.left) == (digest, False):
            continue
        fitting = of_command(found, id_, digest)
        if ordered is None and enough(fitting, memory.rules):
            known[id_] = Ordered(digest, max(one.approval.expires_at for one in fitting))
        else:
            waiting[id_] = signers(fitting)
    used_up = frozenset(id_ for id_ in waiting if id_ in known)
    return JudgedCommands(replace(memory, commands=known), waiting, used_up)
