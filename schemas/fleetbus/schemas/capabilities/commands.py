"""Commands: orders to one cluster, issued and not applied; drivers carry them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from fleetbus.schemas.agent_pod import AGENT_NAMESPACE
from fleetbus.schemas.models import Received, Written

CAPABILITY = "commands"
SECTION_VERSION = 1
ASPECTS: tuple[str, ...] = ()
"""Its results have a subject of their own."""

ID_LABEL = "fleetbus.dev/command"

PHASE_ACCEPTED = "Accepted"
PHASE_RUNNING = "Running"
PHASE_SUCCEEDED = "Succeeded"
PHASE_FAILED = "Failed"
PHASE_EXPIRED = "Expired"
PHASE_CANCELLED = "Cancelled"
PHASE_REFUSED = "Refused"

REASON_ISSUED = "CommandIssued"
REASON_STARTED = "CommandStarted"
REASON_SUCCEEDED = "CommandSucceeded"
REASON_FAILED = "CommandFailed"
REASON_EXPIRED = "CommandExpired"
REASON_CANCELLED = "CommandCancelled"
REASON_REFUSED = "CommandRefused"

EVENT_ISSUED = "command.issued"
EVENT_STARTED = "command.started"
EVENT_SUCCEEDED = "command.succeeded"
EVENT_FAILED = "command.failed"
EVENT_EXPIRED = "command.expired"
EVENT_CANCELLED = "command.cancelled"
EVENT_REFUSED = "command.refused"

CLUSTER_EVENTS = frozenset(
    {
        EVENT_STARTED,
        EVENT_SUCCEEDED,
        EVENT_FAILED,
        EVENT_EXPIRED,
        EVENT_CANCELLED,
        EVENT_REFUSED,
    }
)
"""What clusters tell themselves; the others are the controller's."""

DRIVER_JOB = "job"
DRIVER_REHEARSAL = "rehearsal"


class JobArguments(Written):
    """Arguments of driver `job`: a Job made from this, named by the command's id."""

    namespace: str = AGENT_NAMESPACE
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    service_account: str = ""
    backoff_limit: int = Field(default=0, ge=0, le=10)
    pod_labels: dict[str, str] = Field(default_factory=dict)


class RehearsalArguments(Written):
    """Arguments of driver `rehearsal`: what it should do. `dies` ends the agent's process once, after the effect."""

    outcome: str = Field(default="succeeds", pattern=r"^(succeeds|fails|hangs|dies)$")
    steps: int = Field(default=3, ge=1, le=100)
    step_s: float = Field(default=0.05, ge=0, le=60)
    message: str = ""


DRIVERS: Mapping[str, type[Written]] = {DRIVER_JOB: JobArguments, DRIVER_REHEARSAL: RehearsalArguments}
"""Driver → the model that its arguments must fit, on both sides."""


class CommandOrder(Written):
    """What an operator asks for."""

    cluster: str
    driver: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    deadline_s: float = Field(default=600.0, gt=0, le=7 * 24 * 3600)
    reason: str = Field(default="", max_length=1024)


class CommandRow(Received):
    """One command as `fleetbus command list` shows it."""

    id: str
    cluster: str
    driver: str
    phase: str
    progress_percent: int = 0
    message: str = ""
    issued_at: str = ""
    deadline: str = ""
    issued_by: str = ""
    reason: str = ""
    output: dict[str, Any] = Field(default_factory=dict)
