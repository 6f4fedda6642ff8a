"""Operators and subscribers who are taken out of the fleet: what the controller is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from fleetbus.schemas.api import MAX_REASON
from fleetbus.schemas.models import Written

PersonKind = Literal["operator", "subscriber"]

EVENT_OPERATOR_REMOVED = "operator.removed"
EVENT_SUBSCRIBER_REMOVED = "subscriber.removed"

REASON_OPERATOR_REMOVED = "OperatorRemoved"
REASON_SUBSCRIBER_REMOVED = "SubscriberRemoved"

REMOVED: Mapping[PersonKind, tuple[str, str]] = {
    "operator": (EVENT_OPERATOR_REMOVED, REASON_OPERATOR_REMOVED),
    "subscriber": (EVENT_SUBSCRIBER_REMOVED, REASON_SUBSCRIBER_REMOVED),
}
"""The event and its reason, of each kind."""


class ExpelRequest(Written):
    """Somebody's key counts no more: the controller notes who did it and why, and tells of it.

    The bus enforces it, by what the fleet's owner has signed.
    """

    kind: PersonKind
    name: str = Field(max_length=63)
    key: str = Field(pattern=r"^U[A-Z2-7]{55}$")
    reason: str = Field(default="", max_length=MAX_REASON)
