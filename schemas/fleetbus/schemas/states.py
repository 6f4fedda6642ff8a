"""What a cluster reports: one signed document an aspect, each with the transitions that no event shows yet."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fleetbus.schemas.approvals import ProtectionState
from fleetbus.schemas.desired import CONTRACT
from fleetbus.schemas.events import Outbox
from fleetbus.schemas.models import Count, Moment, Received


class State(Received):
    """One aspect of a cluster, signed by its agent. `body` is its capability's model.

    `session` is the sequence of the session state under which it was written (0 in the session itself);
    every write expects it, so that a second agent's late write is refused.
    """

    contract: int = CONTRACT
    fleet: str
    cluster: str
    uid: str
    aspect: str
    session: Count = 0
    serial: Count
    at: Moment
    body: dict[str, Any] = Field(default_factory=dict)
    outbox: Outbox = Outbox()


class Session(Received):
    """Body of aspect `session`: which agent speaks for the cluster, and what it can read."""

    holder: str
    agent_version: str
    started_at: Moment
    contracts: tuple[int, ...] = (CONTRACT,)
    sections: dict[str, int] = Field(default_factory=dict)
    """Capability → highest section version that this agent understands."""


class Capacity(Received):
    cpu: str = "0"
    memory_bytes: Count = 0
    pods: Count = 0


class Facts(Received):
    """Body of aspect `facts`: what the agent found. Placement may ask for them; a missing one never matches."""

    kubernetes_version: str
    nodes: Count = 0
    capacity: Capacity = Capacity()
    provider: str = ""
    region: str = ""
    api_groups: tuple[str, ...] = ()
    issuer: str = ""
    service_account_keys: tuple[dict[str, Any], ...] = ()
    """The JWKs that sign the cluster's ServiceAccount tokens (RFC 7517), public."""
    agent_version: str = ""
    accepted: tuple[int, int] = (0, 0)
    """(epoch, serial) of the head that the agent has accepted."""
    accepted_set: str = ""
    charter: tuple[int, int] = (0, 0)
    """(epoch, version) of the newest word of the root's that the agent has kept."""
    refused: str = ""
    """One sentence on the last head, set or section that was refused; empty when the newest was accepted."""
    not_understood: tuple[str, ...] = ()
    """Sections of the accepted set that this agent cannot read; what they were before stays."""
    failures: dict[str, str] = Field(default_factory=dict)
    """Part of the agent → one sentence on why its last pass failed; one that is missing is well."""
    protection: ProtectionState | None = None
    """Of a cluster that asks for approvals; None for others."""


class Heartbeat(Received):
    """Every 15 s; unsigned, only presence."""

    session: int
    at: Moment
    server: str = ""


class CommandResult(Received):
    """Where one command stands. phase: Accepted, Running, Succeeded, Failed, Expired, Cancelled, Refused."""

    id: str
    driver: str
    phase: str
    message: str = ""
    progress_percent: Count = 0
    started_at: Moment | None = None
    finished_at: Moment | None = None
    output: dict[str, Any] = Field(default_factory=dict)


class Results(Received):
    """Body of the journal that is published on `result`."""

    commands: tuple[CommandResult, ...] = ()


FINISHED = frozenset({"Succeeded", "Failed", "Expired", "Cancelled", "Refused"})
RESULT_ASPECT = "result"
"""The aspect name that stands in the State published on the `result` subject."""
