"""Which verb of the controller's API needs which role: the one table.

The bus's permissions, the controller's own check, the command's words and the documentation are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from fleetbus.schemas.errors import NotPermitted
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.subjects import events_below, matches, types_below

OperatorRole = Literal["viewer", "operator", "approver", "admin"]

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
APPROVER: Final = "approver"
ADMIN: Final = "admin"

ROLES: tuple[OperatorRole, ...] = (VIEWER, OPERATOR, APPROVER, ADMIN)
"""Each may do all that the one before it may."""

MEANINGS: Mapping[OperatorRole, str] = {
    VIEWER: "reads everything, and changes nothing",
    OPERATOR: "writes documents, looks at sources again, orders commands, revokes secrets",
    APPROVER: "lets go what is held, and hands in approvals",
    ADMIN: "decides which clusters belong to the fleet, and takes people out",
}

NEEDS: Mapping[str, OperatorRole] = {
    "list": VIEWER,
    "watch": VIEWER,
    "describe": VIEWER,
    "explain": VIEWER,
    "overview": VIEWER,
    "commands": VIEWER,
    "audit": VIEWER,
    "events": VIEWER,
    "apply": OPERATOR,
    "delete": OPERATOR,
    "sync": OPERATOR,
    "command": OPERATOR,
    "revoke": OPERATOR,
    "release": APPROVER,
    "retire": ADMIN,
    "expel": ADMIN,
    "approvals": VIEWER,
    "artifact": VIEWER,
    "approval": APPROVER,
    "enrolments": VIEWER,
    "token": ADMIN,
    "approve": ADMIN,
}
"""Each verb, and the least role that it needs."""

IDENTITY_NEEDS: Final = ADMIN
"""To apply a Cluster that is new, or whose `spec` says another identity: its key, its UID, its entity in Vault.

Its labels, owner and description are any operator's. No permission of the bus can tell the two apart, so the
controller does.
"""

CODE = "FB5004"
"""Of the error when a role does not suffice."""

SUBSCRIBER_OF_TYPES: Final = "subscriber-of-types"
"""No operator: one whose token names types of events, and who reads those and nothing else."""
SUBSCRIBER_VERBS: tuple[str, ...] = ("events",)

MOST_TYPES = 16
"""Patterns of one subscriber: each is a read for a page of events."""
TYPES_TAG = "types"
_TAG = "role:"


def suffices(role: str, needed: OperatorRole) -> bool:
    """Whether who has `role` may do what needs `needed`; no other word than a role's own ever does."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def changes(verb: str) -> bool:
    """Whether it changes something: then who asks must have signed it."""
    return NEEDS[verb] != VIEWER


def verbs_of(role: OperatorRole) -> tuple[str, ...]:
    return tuple(verb for verb, needed in NEEDS.items() if suffices(role, needed))


def role_tag(role: str) -> str:
    """What a person's token says of its role. What counts is the key that signed it: this is for who reads it."""
    return _TAG + role


def types_tag(pattern: str) -> str:
    """A pattern of types as a subscriber's token says it. Raises DocumentInvalid."""
    return f"{TYPES_TAG}:{types_below(pattern)}"


def granted_types(claims: Claims) -> tuple[str, ...]:
    """What a subscriber's token says of types, each as it ends a subject (`bundle.>`)."""
    tags = claims.body.get("tags")
    found = [one for one in tags if isinstance(one, str)] if isinstance(tags, list) else []
    prefix = f"{TYPES_TAG}:"
    return tuple(one.removeprefix(prefix) for one in found if one.startswith(prefix))


def granted_subjects(granted: tuple[str, ...], pattern: str) -> tuple[str, ...]:
    """The subjects of the events that `pattern` names, for who is granted these types; `*` is all of them.

    Raises NotPermitted when they are more than what is granted, DocumentInvalid.
    """
    if pattern in {"*", ">", ""}:
        return tuple(events_below(one) for one in granted[:MOST_TYPES])
    wanted = types_below(pattern)
    if any(matches(one, wanted) for one in granted):
        return (events_below(wanted),)
    raise NotPermitted(f"events of `{pattern[:80]}` are not among the types of this subscriber", code=CODE)


def told_role(claims: Claims) -> str:
    """The role that a person's token says it has; '' when it says none."""
    tags = claims.body.get("tags")
    found = [one for one in tags if isinstance(one, str)] if isinstance(tags, list) else []
    return next((one.removeprefix(_TAG) for one in found if one.startswith(_TAG)), "")


def refusal(what: str, needed: OperatorRole, name: str, role: str) -> NotPermitted:
    """That who is called `name`, of `role`, may not do `what`."""
    return NotPermitted(
        f"{what} needs the role {needed}; {name or 'whoever asks'} is {role or 'of no role'}",
        remedy=f"take a context that may, or ask for it: fleetbus operator create {name or 'NAME'} --role {needed}",
        code=CODE,
    )


def bus_refusal(verb: str, name: str, role: str) -> NotPermitted:
    """The same, when the bus has not let the request through."""
    needed = NEEDS[verb]
    if not suffices(role, needed):
        return refusal(f"`{verb}`", needed, name, role)
    return NotPermitted(
        f"the bus does not let {name or 'whoever asks'} ask `{verb}`, which the role {role} may",
        remedy="its permissions are not what they should be: fleetbus doctor --fleet-dir DIR",
        code=CODE,
    )
