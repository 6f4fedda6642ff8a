"""What is to be done about each binding, from what the cluster is told and what was seen. Pure.

A Secret is ours when it carries the binding's id and our field manager, or when it is the very object (by UID)
that we wrote before, whatever has become of its labels. Everything else is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection, SecretState
from fleetbus.schemas.conditions import Status
from fleetbus.schemas.desired import Retired

Aim = Literal["follow", "revoke", "remove", "keep"]
"""Follow Vault; take away because it was revoked, or because the binding is retired; leave it, no longer ours."""

NamespaceSeen = Literal["There", "Missing", "Terminating"]


@dataclass(frozen=True, slots=True)
class Place:
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cluster is told about one binding. `entry` is None for a retired one."""

    id: str
    name: str
    aim: Aim
    entry: SecretEntry | None = None

    @property
    def place(self) -> Place | None:
        return Place(self.entry.namespace, self.entry.secret) if self.entry else None

    @property
    def refresh_s(self) -> float:
        return max(1.0, self.entry.refresh_s) if self.entry else 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one binding: its state as reported, where its Secret is, and as what we left it.

    `uid` is empty while there is no Secret of ours; `seen` is the resource version after our last look, and
    `written` the generation of the binding that the Secret was last written for.
    """

    state: SecretState
    place: Place | None = None
    uid: str = ""
    seen: str = ""
    written: int = 0


@dataclass(frozen=True, slots=True)
class Live:
    """A Secret in the cluster, without its values. `version` is Vault's, as its annotation says."""

    place: Place
    uid: str
    resource_version: str
    version: int = 0
    binding_id: str = ""
    binding_name: str = ""
    managed: bool = False
    deleting: bool = False
    finalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a binding is not in step, as its condition says it."""

    status: Status
    reason: str
    message: str
    passing: bool = False
    """Whether it may be over soon, so that looking again early is worth it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found for one binding: at its place, at other places where it may have been, and at Vault."""

    live: Live | None = None
    earlier: tuple[Live, ...] = ()
    namespace: NamespaceSeen = "There"
    vault_version: int = 0
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Read Vault and write the Secret; `uid` is that of the Secret to change, empty to make one."""

    entry: SecretEntry
    uid: str = ""
    before: str = ""
    """The Secret's resource version before, and empty when there was none."""
    putting_back: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete this Secret. `moved`: only because its binding now has another place."""

    live: Live
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Take our marks off this Secret and leave it."""

    live: Live


@dataclass(frozen=True, slots=True)
class Gone:
    """A look has shown that no Secret of ours is there any more."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to write; the condition says why."""

    trouble: Trouble
    live: Live | None = None


Step = Write | Remove | Release | Gone | Rest


def wanted(section: SecretsSection | None, retired: Sequence[Retired]) -> tuple[Wanted, ...]:
    """Every binding that the cluster is told about. One that is listed is never taken for retired."""
    found = {
        entry.id: Wanted(entry.id, entry.name, "revoke" if entry.revoked else "follow", entry)
        for entry in (section.secrets if section else ())
    }
    for one in retired:
        if one.capability == schema.CAPABILITY and one.id not in found:
            found[one.id] = Wanted(one.id, one.name, "keep" if one.policy == "Keep" else "remove")
    return tuple(found.values())


def plan(want: Wanted, seen: Seen, record: Record | None) -> tuple[Step, ...]:
    """The steps of one binding, in the order in which they are to be taken."""
    if want.aim == "follow" and want.entry is not None:
        return _follow(want.entry, seen, record)
    ours = [live for live in (seen.live, *seen.earlier) if live and is_ours(live, want.id, record)]
    if seen.trouble is not None:
        return (Rest(seen.trouble),)
    if not ours:
        return (Gone(),)
    if want.aim == "keep":
        return (*(Release(live) for live in ours), Gone())
    held = [live for live in ours if live.deleting]
    if held:
        return (*(Remove(live) for live in ours if not live.deleting), Rest(held_by_finalizers(held[0])))
    return (*(Remove(live) for live in ours), Gone())


def _follow(entry: SecretEntry, seen: Seen, record: Record | None) -> tuple[Step, ...]:
    live = seen.live
    for trouble in (
        _namespace(entry, seen),
        _not_ours(entry, live, record),
        _terminating(live),
        seen.trouble,
        _absent_in_vault(entry, seen),
    ):
        if trouble is not None:
            return (Rest(trouble, live),)
    leaving = tuple(
        Remove(left, moved=True)
        for left in seen.earlier
        if is_ours(left, entry.id, record) and not left.deleting
    )
    if _in_step(entry, seen, record):
        return (*leaving, Rest(synced(seen.vault_version), live))
    was_in_step = record is not None and record.written == entry.generation and bool(record.uid)
    write = Write(
        entry,
        uid=live.uid if live else "",
        before=live.resource_version if live else "",
        putting_back=was_in_step and record is not None and record.state.version == seen.vault_version,
    )
    return (write, *leaving)


def _in_step(entry: SecretEntry, seen: Seen, record: Record | None) -> bool:
    """Whether the Secret is as we left it, for this generation of the binding and this version of the value."""
    return (
        record is not None
        and seen.live is not None
        and record.written == entry.generation
        and record.seen == seen.live.resource_version
        and seen.live.version == seen.vault_version
    )


def is_ours(live: Live, binding_id: str, record: Record | None) -> bool:
    if record is not None and record.uid and record.uid == live.uid:
        return True
    return live.managed and live.binding_id == binding_id


def synced(version: int) -> Trouble:
    """The condition of a binding that is in step."""
    return Trouble("True", schema.REASON_SYNCED, f"version {version}")


def held_by_finalizers(live: Live) -> Trouble:
    names = ", ".join(live.finalizers) or "none is named"
    return Trouble(
        "False",
        schema.REASON_FINALIZER,
        f"Secret {live.place} is still there: finalizer {names}; whoever set it must let it go",
        passing=True,
    )


def _namespace(entry: SecretEntry, seen: Seen) -> Trouble | None:
    if seen.namespace == "There":
        return None
    word = "is not there" if seen.namespace == "Missing" else "is being deleted"
    return Trouble(
        "False",
        schema.REASON_NAMESPACE_MISSING,
        f"namespace `{entry.namespace}` {word}; the Secret follows as soon as the namespace exists",
        passing=True,
    )


def _not_ours(entry: SecretEntry, live: Live | None, record: Record | None) -> Trouble | None:
    if live is None or is_ours(live, entry.id, record):
        return None
    owner = f"binding `{live.binding_name}`" if live.binding_id and live.managed else "somebody else"
    return Trouble(
        "False",
        schema.REASON_NOT_OURS,
        f"Secret {live.place} exists and belongs to {owner}; "
        "delete it there or bind to another name (`target.name`)",
    )


def _terminating(live: Live | None) -> Trouble | None:
    if live is None or not live.deleting:
        return None
    names = ", ".join(live.finalizers) or "none is named"
    return Trouble(
        "Unknown",
        schema.REASON_FINALIZER,
        f"Secret {live.place} is being deleted and held by finalizer {names}; it is made again afterwards",
        passing=True,
    )


def _absent_in_vault(entry: SecretEntry, seen: Seen) -> Trouble | None:
    return not_found(entry) if seen.vault_version == 0 else None


def not_found(entry: SecretEntry) -> Trouble:
    return Trouble(
        "False",
        schema.REASON_NOT_FOUND,
        f"Vault has nothing at secret/{entry.path}, or its newest version is deleted; write it there",
    )


def label_of(name: str) -> str:
    """The label's value for a binding's name, which may be longer than a label may be."""
    if len(name) <= 63:
        return name
    return f"{name[:54].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
