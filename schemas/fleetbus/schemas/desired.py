"""What a cluster is told: a small signed head that names a set, which names artifacts; and its commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from fleetbus.schemas.models import Moment, Received

CONTRACT = 1

Untarget = Literal["Keep", "Remove"]


class Head(Received):
    """The mailbox `desired`. Signed. Newer means a greater (epoch, serial).

    `cluster` is the kube-system UID, so that a restored copy under the same name is not told;
    `halts` names bundles (or `*`) whose objects must not be touched now.
    """

    contract: int = CONTRACT
    fleet: str
    cluster: str
    epoch: int
    serial: int
    issued_at: Moment
    not_after: Moment
    halts: tuple[str, ...] = ()
    set: str
    approvals: tuple[str, ...] | None = None
    """Envelopes of the approvals that a protected cluster asks for before the set counts there; None for others."""


class SectionRef(Received):
    """Where a section's content is: an artifact, in the words of a version of its capability."""

    version: int
    digest: str


class Retired(Received):
    """A bundle (or binding) that is no more for this cluster: the only thing besides a changed artifact that prunes.

    `count` is how many objects may go at the most; None when nobody has counted (the agent then brakes).
    """

    capability: str
    id: str
    name: str
    policy: Untarget
    count: int | None = None


class DesiredSet(Received):
    """The artifact that a head names."""

    sections: dict[str, SectionRef] = Field(default_factory=dict)
    retired: tuple[Retired, ...] = ()


class Command(Received):
    """One order to one cluster. Once in effect, in list order, never started after `deadline`."""

    id: str
    driver: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    issued_at: Moment
    deadline: Moment
    cancelled: bool = False
    issued_by: str = ""
    reason: str = ""


class CommandList(Received):
    """The mailbox `command`. Signed; the whole list of open commands each time."""

    contract: int = CONTRACT
    fleet: str
    cluster: str
    epoch: int
    serial: int
    issued_at: Moment
    commands: tuple[Command, ...] = ()
    approvals: tuple[str, ...] | None = None
    """As a head's, of the commands."""


def newer(told: Head | CommandList, accepted: tuple[int, int]) -> bool:
    """Whether `told` may replace what was accepted as (epoch, serial)."""
    return (told.epoch, told.serial) > accepted


def next_serial(last: int, server_at: datetime) -> int:
    """max(last + 1, the server's milliseconds): a purged and rejoined cluster accepts it, too."""
    return max(last + 1, int(server_at.timestamp() * 1000))
