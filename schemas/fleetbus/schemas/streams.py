"""Streams, accounts and permissions as data, and the NATS server's configuration made from them.

Why the accounts are split: in one shared account any agent deletes any stream, since a direct get's empty
answer goes to whatever reply subject the agent chose, written by the server, where no permission is checked.
Agents and operators reach the account of the streams by service imports only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetbus.schemas import subjects
from fleetbus.schemas.catalogue import CAPABILITIES
from fleetbus.schemas.subjects import ROOT, ClusterId

ASPECTS: tuple[str, ...] = tuple(aspect for capability in CAPABILITIES for aspect in capability.ASPECTS)
"""The sides of a cluster's state. Each stands in the agent's permissions."""

MAX_PAYLOAD_BYTES = 1024 * 1024

CONNECTIONS_AN_AGENT = 2
"""While one pod takes over from another."""
CONNECTIONS_A_PERSON = 32
"""Each command and each program that listens has one."""
SPARE_CONNECTIONS = 16
SUBSCRIPTIONS_A_CONNECTION = 64
"""An agent has four, a client one for each thing that it follows."""

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
    (subjects.ALL_DESIRED, f"{ROOT}.command.*.*", f"{ROOT}.rollout.*"),
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
    max_msg_size=512 * 1024,
    description="what clusters report, signed by their agents, last value",
)
EVENTS = Stream(
    "EVENTS",
    (subjects.ALL_EMITS,),
    history=-1,
    max_age_s=7 * 24 * 3600,
    max_bytes=2 * 1024**3,
    max_msg_size=64 * 1024,
    transform={"src": subjects.ALL_EMITS, "dest": subjects.ALL_EVENTS},
    republish={"src": subjects.ALL_EVENTS, "dest": subjects.ALL_EVENTS},
    description="what happened, as CloudEvents, seven days",
)
DOCUMENTS = Stream(
    "DOCUMENTS",
    (subjects.ALL_DOCUMENTS, subjects.ALL_AUDITS),
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
            get(ARTIFACTS.name, subjects.ALL_ARTIFACTS),
            get(EVENTS.name, own_events),
            *(subjects.state(cluster, aspect) for aspect in ASPECTS),
            subjects.result(cluster),
            subjects.heartbeat(cluster),
            subjects.answer(cluster),
        ),
        subscribe=(
            subjects.inbox(cluster.realm, cluster.name) + ".>",
            subjects.nudges(cluster),
            subjects.query(cluster),
            subjects.query_all(cluster.realm),
        ),
    )


def operator_permissions(nkey: str) -> Permissions:
    """An operator speaks to the controller's API and reads every event."""
    return Permissions(
        publish=(subjects.ALL_API, subjects.ALL_SERVICES, subjects.direct_get(EVENTS.name)),
        subscribe=(subjects.personal_inbox(nkey) + ".>", subjects.ALL_EVENTS),
    )


def subscriber_permissions(nkey: str) -> Permissions:
    """A subscriber reads every event and resumes; it asks the controller for nothing."""
    return Permissions(
        publish=(subjects.direct_get(EVENTS.name),),
        subscribe=(subjects.personal_inbox(nkey) + ".>", subjects.ALL_EVENTS),
    )


@dataclass(frozen=True, slots=True)
class User:
    """One credential: the public nkey, and what it may do (None: everything in its account)."""

    nkey: str
    permissions: Permissions | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Users:
    """Everybody the bus knows, from which the accounts are made."""

    system: str
    controllers: tuple[str, ...]
    operators: tuple[User, ...] = ()
    agents: Mapping[str, tuple[User, ...]] = field(default_factory=lambda: {subjects.MAIN: ()})
    """By realm."""


def _quoted(text: str) -> str:
    return '"' + text + '"'


def _user(user: User) -> str:
    if user.permissions is None:
        return f"      {{ nkey: {user.nkey} }}"
    publish = ", ".join(map(_quoted, user.permissions.publish))
    subscribe = ", ".join(map(_quoted, user.permissions.subscribe))
    note = f" # {user.comment}" if user.comment else ""
    return (
        f"      {{{note}\n        nkey: {user.nkey}\n        permissions {{\n"
        f"          publish {{ allow: [ {publish} ] }}\n"
        f"          subscribe {{ allow: [ {subscribe} ] }}\n        }}\n      }}"
    )


def _agent_services(realm: str) -> tuple[str, ...]:
    get = subjects.direct_get
    return (
        get(DESIRED.name, f"{ROOT}.desired.{realm}.*"),
        get(DESIRED.name, f"{ROOT}.command.{realm}.*"),
        get(ARTIFACTS.name, subjects.ALL_ARTIFACTS),
        get(EVENTS.name, f"{ROOT}.event.{realm}.*.>"),
        f"{ROOT}.state.{realm}.*.*",
        f"{ROOT}.result.{realm}.*",
        f"{ROOT}.heartbeat.{realm}.*",
        f"{ROOT}.answer.{realm}.*",
    )


def _exports() -> list[str]:
    services = [f"      {{ service: {_quoted(subject)} }}" for subject in _agent_services("*")]
    return [
        *services,
        f'      {{ service: {_quoted(subjects.direct_get(EVENTS.name))}, response_type: "stream" }}',
        f"      {{ service: {_quoted(subjects.ALL_API)} }}",
        f'      {{ service: {_quoted(subjects.ALL_SERVICES)}, response_type: "stream" }}',
        f"      {{ stream: {_quoted(subjects.ALL_NUDGES)} }}",
        f"      {{ stream: {_quoted(subjects.ALL_QUERIES)} }}",
        f"      {{ stream: {_quoted(subjects.ALL_EVENTS)} }}",
    ]


def _service(subject: str, share: bool) -> str:
    sharing = ", share: true" if share else ""
    return f"      {{ service: {{ account: FLEET, subject: {_quoted(subject)} }}{sharing} }}"


def _stream(subject: str) -> str:
    return f"      {{ stream: {{ account: FLEET, subject: {_quoted(subject)} }} }}"


def _account(name: str, lines: Mapping[str, Sequence[str]], head: str = "") -> str:
    body = "".join(f"    {key}: [\n" + "\n".join(rows) + "\n    ]\n" for key, rows in lines.items() if rows)
    return f"  {name} {{\n{head}{body}  }}"


def _limits(users: int, connections_a_user: int) -> str:
    """An account's own ceiling, so that one of its credentials takes nothing from another account.

    The server counts subscriptions by connection, and connections by account.
    """
    connections = users * connections_a_user + SPARE_CONNECTIONS
    return (
        f"    limits {{ max_connections: {connections}, max_subscriptions: {SUBSCRIPTIONS_A_CONNECTION},"
        f" max_payload: {MAX_PAYLOAD_BYTES} }}\n"
    )


def accounts_configuration(users: Users) -> str:
    """The `accounts` block and what belongs to it, in the NATS server's configuration language."""
    realms = [
        _account(
            f"AGENTS_{realm}",
            {
                "imports": [
                    *(_service(subject, True) for subject in _agent_services(realm)),
                    _stream(f"{ROOT}.nudge.{realm}.*.*"),
                    _stream(f"{ROOT}.query.{realm}.*"),
                ],
                "users": [_user(user) for user in agents],
            },
            head=_limits(len(agents), CONNECTIONS_AN_AGENT),
        )
        for realm, agents in sorted(users.agents.items())
    ]
    blocks = [
        _account("SYS", {"users": [_user(User(users.system))]}),
        _account(
            "FLEET",
            {"exports": _exports(), "users": [_user(User(key)) for key in users.controllers]},
            head="    jetstream: enabled\n",
        ),
        _account(
            "OPERATORS",
            {
                "imports": [
                    _service(subjects.ALL_API, True),
                    _service(subjects.ALL_SERVICES, False),
                    _service(subjects.direct_get(EVENTS.name), False),
                    _stream(subjects.ALL_EVENTS),
                ],
                "users": [_user(user) for user in users.operators],
            },
            head=_limits(len(users.operators), CONNECTIONS_A_PERSON),
        ),
        *realms,
    ]
    return "system_account: SYS\naccounts {\n" + "\n".join(blocks) + "\n}\n"


@dataclass(frozen=True, slots=True)
class Transport:
    """Files of the server's TLS, and where it keeps JetStream's files."""

    certificate_file: str
    key_file: str
    ca_file: str
    store_dir: str


def server_configuration(users: Users, transport: Transport, *, listen: str) -> str:
    """A whole server's configuration. `listen` is `host:port`."""
    return (
        f"listen: {_quoted(listen)}\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        'ping_interval: "3s"\nping_max: 2\n'
        'write_deadline: "10s"\n'
        f"jetstream {{ store_dir: {_quoted(transport.store_dir)}, sync_interval: always }}\n"
        f"tls {{ cert_file: {_quoted(transport.certificate_file)}, key_file: {_quoted(transport.key_file)},"
        f" ca_file: {_quoted(transport.ca_file)}, timeout: 5 }}\n" + accounts_configuration(users)
    )
