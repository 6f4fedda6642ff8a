"""Whether what stands in a mailbox is accepted. Pure: bytes, what was accepted before, and the time.

The bytes were verified before; here they are parsed, and refused when they are for somebody else or not newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetbus.agent.ports import Identity
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.desired import CONTRACT, CommandList, Head, newer
from fleetbus.schemas.errors import MessageTooNew, Stale, WrongAddressee


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted last in one mailbox; `digest` of its bytes, empty for nothing yet."""

    epoch: int = 0
    serial: int = -1
    digest: str = ""

    @property
    def order(self) -> tuple[int, int]:
        return (self.epoch, self.serial)

    def kept(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "serial": self.serial, "digest": self.digest}


def parse_accepted(kept: Mapping[str, Any] | None, lowest_epoch: int) -> Accepted:
    """Inverse of `kept`, never below an epoch: a restored fleet's newer epoch leaves the old serials behind."""
    lowest = Accepted(lowest_epoch)
    if not kept:
        return lowest
    found = Accepted(int(kept.get("epoch", 0)), int(kept.get("serial", -1)), str(kept.get("digest", "")))
    return found if found.epoch >= lowest_epoch else lowest


def of_root(kept: Mapping[str, Any] | None, root: str) -> Mapping[str, Any] | None:
    """What was kept under this root: another root's fleet begins anew, with epochs and serials of its own.

    What was kept before the root was kept with it is this one's.
    """
    return kept if kept and str(kept.get("root") or root) == root else None


@dataclass(frozen=True, slots=True)
class AcceptedHead:
    head: Head
    accepted: Accepted
    again: bool
    """The very bytes that were accepted before."""


@dataclass(frozen=True, slots=True)
class AcceptedCommands:
    commands: CommandList
    accepted: Accepted
    again: bool


def accept_head(content: bytes, before: Accepted, identity: Identity, now: datetime) -> AcceptedHead:
    """Raises MessageMalformed, MessageTooNew, WrongAddressee, Stale.

    A head that is past its validity is refused, but for the one that was accepted while it was valid: the
    configuration stays.
    """
    head = Head.from_bytes(content)
    accepted, again = _in_order(head, content, before, identity)
    if head.not_after < now and not again:
        raise Stale(
            f"head {head.epoch}.{head.serial} was valid until {head.not_after:%Y-%m-%d %H:%M:%S} UTC",
            remedy="see that the controller runs and that the clocks agree",
        )
    return AcceptedHead(head, accepted, again)


def accept_commands(content: bytes, before: Accepted, identity: Identity) -> AcceptedCommands:
    """Raises MessageMalformed, MessageTooNew, WrongAddressee, Stale."""
    commands = CommandList.from_bytes(content)
    accepted, again = _in_order(commands, content, before, identity)
    return AcceptedCommands(commands, accepted, again)


def lapsed(head: Head, now: datetime) -> str:
    """A sentence when an accepted head has passed its validity since; empty otherwise."""
    if head.not_after >= now:
        return ""
    return (
        f"head {head.epoch}.{head.serial} was valid until {head.not_after:%Y-%m-%d %H:%M:%S} UTC;"
        " the configuration stays"
    )


def _in_order(
    told: Head | CommandList, content: bytes, before: Accepted, identity: Identity
) -> tuple[Accepted, bool]:
    what = "head" if isinstance(told, Head) else "command list"
    if told.contract > CONTRACT:
        raise MessageTooNew(
            f"{what} of contract {told.contract}, this agent reads {CONTRACT}", remedy="upgrade the agent"
        )
    if told.fleet != identity.fleet:
        raise WrongAddressee(f"{what} of another fleet")
    if told.cluster != identity.uid:
        raise WrongAddressee(f"{what} for another cluster of this name", remedy="join this cluster again")
    found = Accepted(told.epoch, told.serial, digest(content))
    if newer(told, before.order):
        return found, False
    if found == before:
        return found, True
    raise Stale(
        f"{what} {told.epoch}.{told.serial} is not newer than {before.epoch}.{before.serial},"
        " which was accepted before"
    )
