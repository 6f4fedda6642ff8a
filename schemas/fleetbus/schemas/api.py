"""The controller's API as operators see it: one request and one answer a verb, JSON, on `fleet.v1.api.<verb>`.

Every answer is an envelope: `{"ok": true, "result": …}` or `{"ok": false, "error": {…}}`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fleetbus.schemas import errors
from fleetbus.schemas.capabilities.commands import CommandOrder
from fleetbus.schemas.models import Received, Written

SERVICE_NAME = "fleetbus-controller"

VERBS: tuple[str, ...] = (
    "apply",
    "list",
    "watch",
    "describe",
    "explain",
    "delete",
    "release",
    "sync",
    "revoke",
    "command",
    "overview",
    "remove",
)
"""Each verb is a subject `fleet.v1.api.<verb>` and an endpoint of the NATS service."""


class ErrorReport(Received):
    """An error of the tree, on the wire."""

    code: str
    kind: str
    """Class name in the tree, such as `NotFound`."""
    message: str
    where: str = ""
    remedy: str = ""


class Answer(Received):
    ok: bool
    result: dict[str, Any] = Field(default_factory=dict)
    error: ErrorReport | None = None


def report(error: errors.FleetbusError) -> ErrorReport:
    return ErrorReport(
        code=error.error_code,
        kind=type(error).__name__,
        message=error.message,
        where=error.where,
        remedy=error.remedy,
    )


def raised(error: ErrorReport) -> errors.FleetbusError:
    """Inverse of `report`; an unknown kind becomes Terminal."""
    cls = getattr(errors, error.kind, errors.Terminal)
    if not (isinstance(cls, type) and issubclass(cls, errors.FleetbusError)):
        cls = errors.Terminal
    made: errors.FleetbusError = cls(error.message, where=error.where, remedy=error.remedy)
    made.error_code = error.code
    return made


class ApplyRequest(Written):
    """Documents in one request: all are valid, or none is written."""

    documents: tuple[dict[str, Any], ...]
    dry_run: bool = False
    reason: str = ""


class Applied(Received):
    """One document's outcome: created, configured or unchanged."""

    kind: str
    name: str
    verb: Literal["created", "configured", "unchanged"]
    generation: int


class ApplyResult(Received):
    applied: tuple[Applied, ...] = ()


class ListRequest(Written):
    """Documents of a kind, or one of them. `bundle` keeps the clusters on which that bundle is placed."""

    kind: str
    names: tuple[str, ...] = ()
    labels: str = ""
    bundle: str = ""


class Row(Received):
    """A document with its status and what is known only now (`live`: connected, lastSeenS, …)."""

    document: dict[str, Any]
    live: dict[str, Any] = Field(default_factory=dict)


class ListResult(Received):
    rows: tuple[Row, ...] = ()
    version: int = 0
    """Moves with every change that a watcher may care about."""


class WatchRequest(Written):
    """Answered with the list as soon as its version is not `version`, or after `wait_s` with it unchanged."""

    kind: str
    names: tuple[str, ...] = ()
    labels: str = ""
    version: int = 0
    wait_s: float = Field(default=20.0, ge=0, le=25)


class NameRequest(Written):
    """`describe`."""

    kind: str
    name: str


class ExplainRequest(Written):
    bundle: str
    cluster: str = ""
    kind: str = "Bundle"


class DeleteRequest(Written):
    kind: str
    name: str
    policy: Literal["Keep", "Remove", ""] = ""
    reason: str = ""


class ReleaseRequest(Written):
    """Lets a held prune go; `prune` must be the number of objects that are held."""

    kind: str
    name: str
    prune: int = Field(ge=1)
    reason: str = ""


class SyncRequest(Written):
    kind: str
    name: str


class RevokeRequest(Written):
    name: str
    reason: str = ""


class CommandRequest(Written):
    """action `run` takes `order`; `cancel` takes `id`; `list` may take `cluster`."""

    action: Literal["run", "list", "cancel"]
    order: CommandOrder | None = None
    id: str = ""
    cluster: str = ""


class RemoveRequest(Written):
    """Takes a cluster out of the fleet: its document, mailboxes, states. Its workloads stay."""

    name: str
    reason: str = ""
