"""What happened: CloudEvents 1.0 in structured JSON, and the transitions from which they are made.

Exactly once: a state or a status carries its transitions that no event shows yet, each with a sequence of its
own within its origin; only the controller writes them to EVENTS, expecting the last sequence of the chain.
An event has happened once EVENTS stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.models import Count, Moment, Received

SPEC_VERSION = "1.0"
TYPE_PREFIX = "dev.fleetbus."
MAX_OUTBOX = 256
"""Transitions that one origin may hold unpublished; beyond it the oldest give way to one `events.lost`."""

EMITTED_HEADER = "Fleetbus-Emitted"
"""Header of a stored event: how far each origin in its chain has come, as JSON `{origin: sequence}`.

The last event of a cluster's chain so tells the agent everything that it may drop, and a controller that
starts what it must not emit again.
"""

EVENT_LOST = "events.lost"
REASON_LOST = "EventsLost"

Severity = Literal["Normal", "Warning"]


class Transition(Received):
    """Something that changed, not yet (or just now) published as an event.

    `type` such as `bundle.applied`; `subject` such as `bundle/ingress`; `sequence` counts within the origin.
    """

    sequence: Count
    at: Moment
    type: str
    subject: str
    reason: str
    message: str = ""
    severity: Severity = "Normal"
    details: dict[str, str | int | float | bool] = Field(default_factory=dict)


class CloudEvent(Received):
    """CloudEvents 1.0 (structured). Extensions: severity, origin, transition; all the rest as specified."""

    specversion: str = SPEC_VERSION
    id: str
    source: str
    type: str
    subject: str
    time: Moment
    datacontenttype: str = "application/json"
    dataschema: str = "https://fleetbus.dev/schemas/v1alpha1/event.json"
    severity: Severity = "Normal"
    origin: str
    transition: int
    data: dict[str, Any]

    @property
    def short_type(self) -> str:
        return self.type.removeprefix(TYPE_PREFIX).removesuffix(".v1")


def cloud_event(fleet: str, cluster: str | None, origin: str, transition: Transition) -> CloudEvent:
    """The event of a transition. `origin` is unique for what counts its transitions, such as
    `<cluster uid>/bundles-3` or `<document uid>`; with the sequence it is the event's identity."""
    source = f"/fleets/{fleet}" + (f"/clusters/{cluster}" if cluster else "")
    return CloudEvent(
        id=f"{origin}.{transition.sequence}",
        source=source,
        type=f"{TYPE_PREFIX}{transition.type}.v1",
        subject=transition.subject,
        time=transition.at,
        severity=transition.severity,
        origin=origin,
        transition=transition.sequence,
        data={"reason": transition.reason, "message": transition.message, **transition.details},
    )


def emitted_header(emitted: Mapping[str, int]) -> str:
    return canonical(dict(emitted)).decode()


def emitted_in(headers: Mapping[str, str]) -> dict[str, int]:
    """Inverse of `emitted_header`; empty when the header is missing or unreadable."""
    try:
        told = parse_json(headers.get(EMITTED_HEADER, "{}").encode())
    except MessageMalformed:
        return {}
    if not isinstance(told, dict):
        return {}
    return {origin: sequence for origin, sequence in told.items() if isinstance(sequence, int)}


class Outbox(Received):
    """The transitions of one origin that no event shows yet, and the count so far."""

    sequence: Count = 0
    pending: tuple[Transition, ...] = ()

    def with_(self, now: datetime, *happened: Happened) -> Outbox:
        """This outbox and what happened now; beyond MAX_OUTBOX the oldest become one `events.lost`."""
        sequence, pending = self.sequence, list(self.pending)
        for one in happened:
            sequence += 1
            pending.append(Transition(sequence=sequence, at=now, **one.model_dump()))
        if len(pending) > MAX_OUTBOX:
            lost = pending[: len(pending) - MAX_OUTBOX + 1]
            count = sum(_stands_for(one) for one in lost)
            note = lost[-1].model_copy(
                update={
                    "type": EVENT_LOST,
                    "subject": "fleet/events",
                    "reason": REASON_LOST,
                    "severity": "Warning",
                    "message": f"{count} events were dropped before they could be published",
                    "details": {"count": count},
                }
            )
            pending = [note, *pending[len(lost) :]]
        return Outbox(sequence=sequence, pending=tuple(pending))

    def counted_on(self, published: int) -> Outbox:
        """This outbox when events show more than it ever counted: it was lost and begun again, and goes on there."""
        if published <= self.sequence:
            return self
        pending = tuple(
            one.model_copy(update={"sequence": published + n}) for n, one in enumerate(self.pending, 1)
        )
        return Outbox(sequence=published + len(pending), pending=pending)

    def without(self, published: int) -> Outbox:
        """This outbox after everything up to `published` has become an event."""
        pending = tuple(one for one in self.pending if one.sequence > published)
        return Outbox(sequence=max(self.sequence, published), pending=pending)


def _stands_for(one: Transition) -> int:
    """How many transitions are lost with this one: with a note of former losses, those."""
    count = one.details.get("count") if one.type == EVENT_LOST else None
    return count if isinstance(count, int) and count > 0 else 1


class Happened(Received):
    """What a capability says has happened; the side that runs it gives it time and sequence."""

    type: str
    subject: str
    reason: str
    message: str = ""
    severity: Severity = "Normal"
    details: dict[str, str | int | float | bool] = Field(default_factory=dict)
