"""What a cluster's message must be before anybody looks into it. Pure: bytes and what is known in, a state out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities.clusters import ClusterSpec
from fleetbus.schemas.desired import CONTRACT
from fleetbus.schemas.errors import MessageMalformed, MessageTooNew, Stale, WrongAddressee
from fleetbus.schemas.models import Received
from fleetbus.schemas.signing import verify
from fleetbus.schemas.states import RESULT_ASPECT, Facts, Results, Session, State
from fleetbus.schemas.subjects import ClusterId

BODIES: Mapping[str, type[Received]] = {"session": Session, "facts": Facts, RESULT_ASPECT: Results}
"""Aspects whose bodies this side reads itself; all others are their capability's."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """How far an aspect had come in what was accepted last, by this controller or one before it."""

    uid: str
    serial: int


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose message it must be. `uid` empty: any, since none is known yet."""

    fleet: str
    cluster: ClusterId
    key: str
    uid: str

    @classmethod
    def of(cls, fleet: str, cluster: ClusterId, spec: ClusterSpec, known_uid: str) -> Expected:
        return cls(fleet, cluster, spec.key, spec.uid or known_uid)


def verified_state(
    subject: str, data: bytes, aspect: str, expected: Expected, last: Accepted | None
) -> tuple[State, Received | None]:
    """The state and, for aspects in BODIES, its body's model. Bytes are verified before they are parsed.

    Raises SignatureRefused, MessageMalformed, MessageTooNew, WrongAddressee, Stale.
    """
    content = parse_json(verify(subject, data, {expected.key}))
    _readable(content, aspect)
    state = State.from_json(content)
    if (state.fleet, state.cluster, state.aspect) != (expected.fleet, expected.cluster.name, aspect):
        raise WrongAddressee(f"the {aspect} state names another fleet, cluster or aspect")
    if expected.uid and state.uid != expected.uid:
        raise WrongAddressee(
            f"the {aspect} state is from the cluster with UID {state.uid[:40]}, expected is {expected.uid[:40]}",
            remedy="remove the cluster and join it again if it was made anew",
        )
    if last is not None and last.uid == state.uid and state.serial < last.serial:
        raise Stale(
            f"the {aspect} state has serial {state.serial}, {last.serial} was accepted before",
            remedy="remove the cluster and join it again if its clock was wrong",
        )
    model = BODIES.get(aspect)
    return state, model.from_json(state.body) if model else None


def _readable(content: Any, aspect: str) -> None:
    if not isinstance(content, dict):
        raise MessageMalformed(f"the {aspect} state is no JSON object")
    contract = content.get("contract", CONTRACT)
    if not isinstance(contract, int) or contract > CONTRACT:
        raise MessageTooNew(
            f"the {aspect} state is of contract {str(contract)[:16]}, this controller reads up to {CONTRACT}",
            remedy="upgrade the controller before the agents",
        )
