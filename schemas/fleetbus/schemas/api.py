"""The controller's API as operators see it: one request and one answer a verb, JSON, on `fleet.v1.api.<verb>`.

Every answer is `{"ok": true, "result": …}` or `{"ok": false, "error": {…}}`, and signed by the controller for the
request's id when that begins with a statement (`requests`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fleetbus.schemas import errors
from fleetbus.schemas.capabilities.bundles import Exclusion
from fleetbus.schemas.capabilities.commands import CommandOrder, CommandRow
from fleetbus.schemas.models import Moment, Received, Written
from fleetbus.schemas.roles import NEEDS

MAX_REASON = 1024
"""Characters in which an operator says why."""

SERVICE_NAME = "fleetbus-controller"

VERBS: tuple[str, ...] = tuple(NEEDS)
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
    """`request`: the id of the statement that it answers, with which it is signed; empty when there was none."""

    ok: bool
    request: str = ""
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
    reason: str = Field(default="", max_length=MAX_REASON)


class Applied(Received):
    """One document's outcome: created, configured or unchanged."""

    kind: str
    name: str
    verb: Literal["created", "configured", "unchanged"]
    generation: int


class ApplyResult(Received):
    applied: tuple[Applied, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is allowed but may be a mistake, such as a source that is not there yet."""


class ListRequest(Written):
    """Documents of a kind, or one of them. `bundle` keeps the clusters on which that bundle is placed.

    `after` goes on behind that name; `limit` is the most rows of one answer, 0 for as many as fit.
    """

    kind: str
    names: tuple[str, ...] = ()
    labels: str = ""
    bundle: str = ""
    after: str = ""
    limit: int = Field(default=0, ge=0)


class Row(Received):
    """A document with its status and what is known only now (`live`: connected, lastSeenS, …)."""

    document: dict[str, Any]
    live: dict[str, Any] = Field(default_factory=dict)


class ListResult(Received):
    """Rows by name. Without `names` in the request, statuses come without what `describe` lists cluster by cluster."""

    rows: tuple[Row, ...] = ()
    version: int = 0
    """Moves with every change that a watcher may care about."""
    more_after: str = ""
    """The name to ask on behind; empty when these rows are the last."""


class WatchRequest(Written):
    """Answered with the list as soon as its version is not `version`, or after `wait_s` with it unchanged.

    `after` asks for the rest of a list, at once.
    """

    kind: str
    names: tuple[str, ...] = ()
    labels: str = ""
    after: str = ""
    limit: int = Field(default=0, ge=0)
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


class ExplainStep(Received):
    """A rule of a placement: what stands in it, and who fell out there."""

    clause: str
    """`selector`, `facts`, `clusters`, `exclude`, `leaving`."""
    rule: str
    count: int
    clusters: tuple[str, ...] = ()
    """At most 20 names."""
    message: str = ""
    """What stood there instead, such as `18 have env=lab`."""


class ExplainCheck(Received):
    """A rule of a placement, asked of one cluster."""

    clause: str
    rule: str
    holds: bool
    message: str = ""


class Explained(Received):
    """Placement of a document as a funnel; with `cluster`, every rule asked of that one."""

    kind: str = "Bundle"
    name: str
    generation: int = 0
    total: int = 0
    """How many clusters there are in the fleet."""
    steps: tuple[ExplainStep, ...] = ()
    placed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """Placed only because their loss is held."""
    excluded: tuple[Exclusion, ...] = ()
    """Every cluster that is out, and why."""
    message: str = ""
    cluster: str = ""
    checks: tuple[ExplainCheck, ...] = ()
    is_placed: bool = False
    remedy: str = ""


class DeleteRequest(Written):
    kind: str
    name: str
    policy: Literal["Keep", "Remove", ""] = ""
    reason: str = Field(default="", max_length=MAX_REASON)


class ReleaseRequest(Written):
    """Lets a held prune go; `prune` must be the number of objects that are held."""

    kind: str
    name: str
    prune: int = Field(ge=1)
    reason: str = Field(default="", max_length=MAX_REASON)


class SyncRequest(Written):
    kind: str
    name: str
    reason: str = Field(default="", max_length=MAX_REASON)


class RevokeRequest(Written):
    name: str
    reason: str = Field(default="", max_length=MAX_REASON)


class CommandRequest(Written):
    """action `run` takes `order`; `cancel` takes `id` and may take `reason`."""

    action: Literal["run", "cancel"]
    order: CommandOrder | None = None
    id: str = ""
    cluster: str = ""
    reason: str = Field(default="", max_length=MAX_REASON)


class CommandsRequest(Written):
    """Open commands and those that ended lately, of one cluster or of all."""

    cluster: str = ""


class AuditRequest(Written):
    """Audit records, oldest first: behind a place in the stream, or a record's number, or from a moment on.

    Those that do not fit actor, action and object are left out; what cannot be read never is.
    """

    position: int = Field(default=0, ge=0)
    after: int = Field(default=0, ge=0)
    since: Moment | None = None
    actor: str = ""
    action: str = ""
    object: str = ""
    limit: int = Field(default=200, ge=1, le=500)


class AuditRow(Received):
    """One record as it is stored: whoever reads it verifies `envelope` for `subject` himself."""

    subject: str
    envelope: str
    stored_at: str = ""


class AuditResult(Received):
    """`position` is where to go on while there is `more`. `newest`: number and digest of the newest record.

    `fleet` and `keys` are as the controller names them: whoever knows better does not rely on them.
    """

    rows: tuple[AuditRow, ...] = ()
    position: int = 0
    more: bool = False
    newest: str = ""
    fleet: str = ""
    keys: tuple[str, ...] = ()


class EventsRequest(Written):
    """Events behind a place in the stream, or from a moment on, oldest first. A `limit` of 0 asks where it ends."""

    type: str = "*"
    after: int = Field(default=0, ge=0)
    since: Moment | None = None
    limit: int = Field(default=200, ge=0, le=200)


class EventRow(Received):
    """A CloudEvent as it is stored, and its place in the stream."""

    sequence: int
    event: str


class EventsResult(Received):
    """Of a subscriber of types, those types alone. `newest` is the last place in the stream, of any type."""

    rows: tuple[EventRow, ...] = ()
    more: bool = False
    newest: int = 0


class Described(Received):
    """Answer to `describe`: the document with its status, what is known only now, its last CloudEvents."""

    document: dict[str, Any]
    live: dict[str, Any] = Field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()
    """Oldest first, at most ten."""


class Accepted(Received):
    """Answer to `delete`, `release`, `sync`, `revoke` and `retire`: written; `message` says what follows."""

    kind: str
    name: str
    message: str = ""
    generation: int = 0


class CommandsResult(Received):
    """Answer to `command` and `commands`: the rows that the action was about, newest first."""

    commands: tuple[CommandRow, ...] = ()


class Tally(Received):
    """How many documents of a kind there are, and how many of them are Ready."""

    kind: str
    count: int = 0
    ready: int = 0


class Problem(Received):
    """Something that is wrong or waits for a person. `object` such as `bundle/ingress`."""

    object: str
    status: str = "False"
    reason: str
    message: str = ""
    since: str = ""


class Overview(Received):
    """Answer to `overview`: the fleet in a few numbers; also what `doctor` knows of the controller."""

    fleet: str
    controller: str = ""
    """Its version."""
    epoch: int = 0
    term: int = 0
    """The term under which it writes; 0 while it does not lead."""
    signing_key: str = ""
    """Its public key: all that is stored and told is signed with it by now."""
    charter: tuple[int, int] = (0, 0)
    """(epoch, version) of what the root has said last, as this controller has it."""
    tallies: tuple[Tally, ...] = ()
    away: tuple[str, ...] = ()
    """Clusters that are not connected, or whose heartbeats do not come."""
    problems: tuple[Problem, ...] = ()
    held: tuple[Problem, ...] = ()
    """Prunes and placements that wait for `fleetbus release`."""
    commands_open: int = 0
    streams: dict[str, int] = Field(default_factory=dict)
    """Stream -> number of messages; one that is missing has -1."""
    oldest_event_at: str = ""
    audit_newest: str = ""
    """Number and digest of the newest audit record; empty when they cannot be read now."""
    audit_copied: int = 0
    """The number up to which the records are in the stream that keeps them for ever."""
