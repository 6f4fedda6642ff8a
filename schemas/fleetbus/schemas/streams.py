"""Streams and permissions as data. `accounts.py` makes the bus's accounts from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetbus.schemas import subjects
from fleetbus.schemas.catalogue import CAPABILITIES
from fleetbus.schemas.limits import (
    EVENTS_BYTES,
    EVENTS_KEPT_S,
    MAX_EVENT_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_STATE_BYTES,
)
from fleetbus.schemas.roles import SUBSCRIBER_VERBS, OperatorRole, verbs_of
from fleetbus.schemas.subjects import ROOT, ClusterId

ASPECTS: tuple[str, ...] = tuple(aspect for capability in CAPABILITIES for aspect in capability.ASPECTS)
"""The sides of a cluster's state. Each stands in the agent's permissions."""

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream stream, in the server's own words. `max_age_s` 0 keeps for ever; `max_bytes` -1 is unlimited."""

    name: str
    subjects: tuple[str, ...]
    history: int = 1
    max_age_s: int = 0
    max_bytes: int = -1
    max_msg_size: int = MAX_PAYLOAD_BYTES
    atomic: bool = False
    ttl: bool = False
    republish: Mapping[str, Any] | None = None
    transform: Mapping[str, str] | None = None
    copied_from: tuple[str, str] | None = None
    """Stream and subjects of which the server copies every message here; nobody publishes to such a stream."""
    keeps_for_ever: bool = False
    """The server refuses to delete or purge, and to allow it again."""
    undeletable: bool = False
    """The server refuses to delete single messages, and to allow it again; whole subjects may be purged."""
    duplicate_window_s: int = 120
    description: str = ""

    def configuration(self, replicas: int = 1) -> dict[str, Any]:
        """The body of STREAM.CREATE and STREAM.UPDATE."""
        body: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "subjects": list(self.subjects),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": replicas,
            "max_msgs_per_subject": self.history,
            "max_age": self.max_age_s * _SECOND,
            "max_bytes": self.max_bytes,
            "max_msg_size": self.max_msg_size,
            "duplicate_window": self.duplicate_window_s * _SECOND,
            "allow_direct": True,
            "allow_rollup_hdrs": False,
            "deny_delete": self.undeletable or self.keeps_for_ever,
            "deny_purge": self.keeps_for_ever,
            "allow_msg_ttl": self.ttl,
            "allow_atomic": self.atomic,
        }
        if self.republish:
            body["republish"] = dict(self.republish)
        if self.transform:
            body["subject_transform"] = dict(self.transform)
        if self.copied_from:
            stream, subject = self.copied_from
            body["sources"] = [{"name": stream, "filter_subject": subject}]
        return body


DESIRED = Stream(
    "DESIRED",
    (subjects.ALL_DESIRED, f"{ROOT}.command.*.*", f"{ROOT}.rollout.*", subjects.CHARTER),
    atomic=True,
    ttl=True,
    republish={
        "src": f"{ROOT}.*.*.*",
        "dest": f"{ROOT}.nudge.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}.{{{{wildcard(1)}}}}",
        "headers_only": True,
    },
    description="what clusters are told: signed heads and command lists, last value",
)
ARTIFACTS = Stream(
    "ARTIFACTS", (subjects.ALL_ARTIFACTS,), description="sets and rendered objects, named by their digest"
)
STATE = Stream(
    "STATE",
    (subjects.ALL_STATES, subjects.ALL_RESULTS),
    max_msg_size=MAX_STATE_BYTES,
    description="what clusters report, signed by their agents, last value",
)
EVENTS = Stream(
    "EVENTS",
    (subjects.ALL_EMITS,),
    history=-1,
    max_age_s=EVENTS_KEPT_S,
    max_bytes=EVENTS_BYTES,
    max_msg_size=MAX_EVENT_BYTES,
    transform={"src": subjects.ALL_EMITS, "dest": subjects.ALL_EVENTS},
    republish={"src": subjects.ALL_EVENTS, "dest": subjects.ALL_EVENTS},
    description="what happened, as CloudEvents, seven days",
)
DOCUMENTS = Stream(
    "DOCUMENTS",
    (subjects.ALL_DOCUMENTS, subjects.ALL_ENROLMENTS, subjects.ALL_AUDITS),
    history=64,
    atomic=True,
    undeletable=True,
    description="what operators wrote, with history, and who did it",
)
AUDIT = Stream(
    "AUDIT",
    (),
    history=-1,
    copied_from=(DOCUMENTS.name, subjects.ALL_AUDITS),
    keeps_for_ever=True,
    description="audit records as the server copies them from DOCUMENTS, for ever",
)
STATUS = Stream("STATUS", (subjects.ALL_STATUSES,), description="conditions of every document, last value")

STREAMS: tuple[Stream, ...] = (DESIRED, ARTIFACTS, STATE, EVENTS, DOCUMENTS, AUDIT, STATUS)

READ_CHARTER = subjects.direct_get(DESIRED.name, subjects.CHARTER)
"""What everybody may do who follows whose word counts: read one exact subject."""


@dataclass(frozen=True, slots=True)
class Permissions:
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def agent_permissions(cluster: ClusterId) -> Permissions:
    """Exactly an agent's own row: no wildcard but in two direct gets, no consumer, no acknowledgement."""
    get = subjects.direct_get
    own_events = f"{ROOT}.event.{cluster.realm}.{cluster.name}.>"
    return Permissions(
        publish=(
            get(DESIRED.name, subjects.desired(cluster)),
            get(DESIRED.name, subjects.command(cluster)),
            READ_CHARTER,
            get(ARTIFACTS.name, subjects.ALL_ARTIFACTS),
            get(EVENTS.name, own_events),
            *(subjects.state(cluster, aspect) for aspect in ASPECTS),
            subjects.result(cluster),
            subjects.heartbeat(cluster),
            subjects.answer(cluster),
            subjects.renew(cluster),
        ),
        subscribe=(
            subjects.inbox(cluster.realm, cluster.name) + ".>",
            subjects.nudges(cluster),
            subjects.query(cluster),
            subjects.query_all(cluster.realm),
        ),
    )


def token_permissions(cluster: ClusterId, nkey: str) -> Permissions:
    """A join token asks to be enrolled under the one name that it was made for."""
    return Permissions((subjects.enrol(cluster), READ_CHARTER), (subjects.personal_inbox(nkey) + ".>",))


def renewer_permissions(cluster: ClusterId, nkey: str) -> Permissions:
    """Whose credential has lapsed asks for a new one."""
    return Permissions((subjects.renew(cluster), READ_CHARTER), (subjects.personal_inbox(nkey) + ".>",))


def operator_permissions(nkey: str, role: OperatorRole) -> Permissions:
    """An operator asks the controller the verbs of the role, and reads every event."""
    return Permissions(
        publish=(
            *(subjects.api(verb) for verb in verbs_of(role)),
            subjects.ALL_SERVICES,
            subjects.direct_get(EVENTS.name),
            READ_CHARTER,
        ),
        subscribe=(subjects.personal_inbox(nkey) + ".>", subjects.ALL_EVENTS),
    )


def types_permissions(nkey: str, types: tuple[str, ...]) -> Permissions:
    """A subscriber of these types alone (each as it ends a subject) resumes through the controller, which knows them.

    A direct get would read every type.
    """
    return Permissions(
        publish=tuple(subjects.api(verb) for verb in SUBSCRIBER_VERBS),
        subscribe=(subjects.personal_inbox(nkey) + ".>", *(subjects.events_below(one) for one in types)),
    )


def subscriber_permissions(nkey: str) -> Permissions:
    """A subscriber reads every event and resumes; it asks the controller for nothing."""
    return Permissions(
        publish=(subjects.direct_get(EVENTS.name),),
        subscribe=(subjects.personal_inbox(nkey) + ".>", subjects.ALL_EVENTS),
    )
