"""Conditions as Kubernetes has them (API conventions, "Typical status properties"): type, status, reason, message.

`Ready` sums up what runs on. False: something is wrong. Unknown: it goes on by itself, waits as planned,
or cannot be seen. A reason is never empty, and each is used by one thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, Protocol

from fleetbus.schemas.models import Moment, Received

Status = Literal["True", "False", "Unknown"]

MAX_MESSAGE_BYTES = 256
"""Of a message in what a cluster reports, and of one in a list of a status."""
MAX_LISTED = 256
"""Clusters that a status lists one by one, so that it fits into a message."""

READY = "Ready"
RECONCILED = "Reconciled"
"""There once a pass of the controller has failed: False while it does."""

REASON_RECONCILED = "Reconciled"
REASON_INTERNAL = "InternalError"
"""A mistake of the controller's own; its log has more."""


class Condition(Received):
    """One condition. `last_transition_at` moves only when `status` does."""

    type: str
    status: Status
    reason: str
    message: str = ""
    last_transition_at: Moment
    observed_generation: int = 0


class Looked(Protocol):
    """Makes the conditions of one look at one document."""

    def __call__(self, type_: str, status: Status, reason: str, message: str = "") -> Condition: ...


def looked(at: datetime, generation: int) -> Looked:
    """At a document of this generation."""

    def condition(type_: str, status: Status, reason: str, message: str = "") -> Condition:
        return Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message,
            last_transition_at=at,
            observed_generation=generation,
        )

    return condition


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def put(conditions: Sequence[Condition], *new: Condition) -> tuple[Condition, ...]:
    """`conditions` with `new` set; a transition time is kept where the status stays."""
    kept = {condition.type: condition for condition in conditions}
    for condition in new:
        old = kept.get(condition.type)
        if old is not None and old.status == condition.status:
            condition = condition.model_copy(update={"last_transition_at": old.last_transition_at})
        kept[condition.type] = condition
    return tuple(sorted(kept.values(), key=lambda condition: (condition.type == READY, condition.type)))


def summarise(conditions: Iterable[Condition], now: datetime, *, generation: int = 0) -> Condition:
    """`Ready` over the others: the first False, else the first Unknown, else True."""
    others = [condition for condition in conditions if condition.type != READY]
    for wanted in ("False", "Unknown"):
        for condition in others:
            if condition.status == wanted:
                return Condition(
                    type=READY,
                    status=condition.status,
                    reason=condition.reason,
                    message=condition.message,
                    last_transition_at=now,
                    observed_generation=generation,
                )
    return Condition(
        type=READY, status="True", reason=READY, last_transition_at=now, observed_generation=generation
    )
