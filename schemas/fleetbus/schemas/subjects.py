"""Every subject on the bus: builders, and parsers that are their inverses.

The only place that spells a subject. A name that reaches a builder is checked here, at the edge:
a cluster is a DNS label that starts with a letter; `all` and names that start with `_` are reserved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleetbus.schemas.errors import DocumentInvalid

ROOT = "fleet.v1"
MAIN = "main"
"""The realm that there is until somebody makes a second."""

FLEET = "_"
"""Stands in a cluster's place in the subject of an event of the whole fleet."""

_LABEL = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,251}[a-z0-9])?$")
_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_NKEY = re.compile(r"^U[A-Z2-7]{55}$")
_NUMBER = re.compile(r"^[1-9][0-9]{0,15}$")
_EVENT_TYPE = re.compile(r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$")
_RESERVED = frozenset({"all"})


def cluster_name(name: str) -> str:
    """`name` if it may name a cluster or a realm; DocumentInvalid otherwise."""
    if not _LABEL.fullmatch(name) or name in _RESERVED:
        raise DocumentInvalid(
            f"`{name[:80]}` cannot name a cluster",
            remedy="take lower-case letters, digits and `-`, a letter first, at most 63, and not `all`",
        )
    return name


def document_name(name: str) -> str:
    """`name` if it may name a document; DocumentInvalid otherwise."""
    if not _NAME.fullmatch(name):
        raise DocumentInvalid(
            f"`{name[:80]}` cannot name a document",
            remedy="take lower-case letters, digits and `-`, at most 253",
        )
    return name


def _digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise DocumentInvalid("an artifact is named by 64 lower-case hexadecimal digits")
    return digest


@dataclass(frozen=True, slots=True)
class ClusterId:
    """Realm and name: where a cluster's subjects lie."""

    realm: str
    name: str

    def __post_init__(self) -> None:
        cluster_name(self.realm)
        cluster_name(self.name)

    def __str__(self) -> str:
        return f"{self.realm}/{self.name}"


# DESIRED: what the controller tells


def desired(cluster: ClusterId) -> str:
    return f"{ROOT}.desired.{cluster.realm}.{cluster.name}"


def command(cluster: ClusterId) -> str:
    return f"{ROOT}.command.{cluster.realm}.{cluster.name}"


TERM = f"{ROOT}.desired._term"
LEASE = f"{ROOT}.desired._lease"
CHARTER = f"{ROOT}.charter"  # Three tokens: five would be republished as a nudge.

MAILBOXES = ("desired", "command")
"""The third token of what a nudge may be about."""


def nudge(cluster: ClusterId, which: str) -> str:
    return f"{ROOT}.nudge.{cluster.realm}.{cluster.name}.{which}"


def nudges(cluster: ClusterId) -> str:
    """What an agent subscribes to; `*` is one of MAILBOXES."""
    return f"{ROOT}.nudge.{cluster.realm}.{cluster.name}.*"


def artifact(digest: str) -> str:
    return f"{ROOT}.artifact.{_digest(digest)}"


# STATE: what the agents report


def state(cluster: ClusterId, aspect: str) -> str:
    return f"{ROOT}.state.{cluster.realm}.{cluster.name}.{aspect}"


def result(cluster: ClusterId) -> str:
    return f"{ROOT}.result.{cluster.realm}.{cluster.name}"


def heartbeat(cluster: ClusterId) -> str:
    return f"{ROOT}.heartbeat.{cluster.realm}.{cluster.name}"


def answer(cluster: ClusterId) -> str:
    return f"{ROOT}.answer.{cluster.realm}.{cluster.name}"


def query(cluster: ClusterId) -> str:
    return f"{ROOT}.query.{cluster.realm}.{cluster.name}"


def query_all(realm: str) -> str:
    return f"{ROOT}.query.{cluster_name(realm)}.all"


ALL_STATES = f"{ROOT}.state.*.*.*"
ALL_RESULTS = f"{ROOT}.result.*.*"
ALL_HEARTBEATS = f"{ROOT}.heartbeat.*.*"
ALL_QUERIES = f"{ROOT}.query.*.*"
ALL_NUDGES = f"{ROOT}.nudge.*.*.*"


def states_of(cluster: ClusterId) -> str:
    return f"{ROOT}.state.{cluster.realm}.{cluster.name}.*"


# Credentials: what is asked of the controller alone


def enrol(cluster: ClusterId) -> str:
    """The first request of a join token."""
    return f"{ROOT}.enrol.{cluster.realm}.{cluster.name}"


def renew(cluster: ClusterId) -> str:
    """A member's request for a new credential."""
    return f"{ROOT}.renew.{cluster.realm}.{cluster.name}"


ALL_ENROLS = f"{ROOT}.enrol.*.*"
ALL_RENEWALS = f"{ROOT}.renew.*.*"


# EVENTS


def event_type(name: str) -> str:
    """`name` if it may be an event's type below `dev.fleetbus.`, such as `bundle.applied`."""
    if not _EVENT_TYPE.fullmatch(name):
        raise DocumentInvalid(f"`{name[:80]}` is no event type")
    return name


def emit(realm: str, cluster: str, type_: str) -> str:
    """What the controller writes; EVENTS stores it as `event(...)`. `cluster` may be FLEET."""
    return f"{ROOT}.emit.{cluster_name(realm)}.{_place(cluster)}.{event_type(type_)}"


def event(realm: str, cluster: str, type_: str) -> str:
    return f"{ROOT}.event.{cluster_name(realm)}.{_place(cluster)}.{event_type(type_)}"


def events_of(realm: str, cluster: str) -> str:
    """All events of one cluster, or with FLEET those of the whole fleet."""
    return f"{ROOT}.event.{cluster_name(realm)}.{_place(cluster)}.>"


ALL_EMITS = f"{ROOT}.emit.>"
ALL_EVENTS = f"{ROOT}.event.>"


def events_matching(pattern: str) -> str:
    """The subscription for an operator's pattern of types: `bundle.*`, `bundle.applied`, `*`."""
    if pattern in {"*", ">", ""}:
        return ALL_EVENTS
    return events_below(types_below(pattern))


def events_below(tail: str) -> str:
    """The subscription to the types that `types_below` gave, of every cluster."""
    return f"{ROOT}.event.*.*.{tail}"


def types_below(pattern: str) -> str:
    """A pattern of types as it ends a subject: `bundle.*` is `bundle.>`. Raises DocumentInvalid."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*(\.\*)?", pattern):
        raise DocumentInvalid(
            f"`{pattern[:80]}` is no pattern of event types", remedy="write `bundle.*` or `bundle.applied`"
        )
    return pattern[:-1] + ">" if pattern.endswith(".*") else pattern


def _place(cluster: str) -> str:
    return cluster if cluster == FLEET else cluster_name(cluster)


# DOCUMENTS and STATUS


def document(kind: str, name: str) -> str:
    """`kind` in lower case, such as `bundle`."""
    return f"{ROOT}.document.{cluster_name(kind)}.{document_name(name)}"


def status(kind: str, name: str) -> str:
    return f"{ROOT}.status.{cluster_name(kind)}.{document_name(name)}"


def audit(number: int) -> str:
    """A subject a record: what may be written there once is never written again."""
    return f"{ROOT}.audit.{number}"


def enrolment(cluster: ClusterId) -> str:
    """What is known of a name's tokens, its member and who else claims it."""
    return f"{ROOT}.enrolment.{cluster.realm}.{cluster.name}"


ALL_ENROLMENTS = f"{ROOT}.enrolment.*.*"
ALL_DOCUMENTS = f"{ROOT}.document.*.*"
ALL_STATUSES = f"{ROOT}.status.*.*"
ALL_AUDITS = f"{ROOT}.audit.*"
ALL_ARTIFACTS = f"{ROOT}.artifact.*"
ALL_DESIRED = f"{ROOT}.desired.>"
ALL_HEADS = f"{ROOT}.desired.*.*"
ALL_COMMANDS = f"{ROOT}.command.*.*"


def api(verb: str) -> str:
    return f"{ROOT}.api.{cluster_name(verb)}"


ALL_API = f"{ROOT}.api.>"
ALL_SERVICES = "$SRV.>"


def inbox(realm: str, cluster: str) -> str:
    """The prefix of every reply subject that an agent uses."""
    return f"_INBOX_{cluster_name(realm)}_{cluster_name(cluster)}"


def personal_inbox(nkey: str) -> str:
    """Of an operator or a subscriber: by key, since two of them may have one name."""
    if not _NKEY.fullmatch(nkey):
        raise DocumentInvalid("a person is known to the bus by a public nkey `U…`")
    return f"_INBOX_{nkey}"


CONTROLLER_INBOX = "_INBOX_controller"
SYSTEM_INBOX = "_INBOX_system"

SERVERS = "$SYS.REQ.SERVER.PING"
"""The question to which every server of the bus answers who it is (system account only)."""
CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
"""An account's new token, for every server (system account only)."""


def server_reload(server: str) -> str:
    """Has the server of this id read its configuration and its certificates again (system account only)."""
    return f"$SYS.REQ.SERVER.{server}.RELOAD"


def claims_lookup(account: str) -> str:
    """The question what the servers have for the account of this public key (system account only)."""
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"


ALL_CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
"""The question who is connected, which every server answers (system account only)."""


def connections(server: str) -> str:
    """The same, asked of one server by its id."""
    return f"$SYS.REQ.SERVER.{server}.CONNZ"


def kick(server: str) -> str:
    """Where a server is told to close one of its connections (system account only)."""
    return f"$SYS.REQ.SERVER.{server}.KICK"


def direct_get(stream: str, subject: str = "") -> str:
    """The JetStream API's direct get: of a subject's last value, or with none the form for batches."""
    return f"$JS.API.DIRECT.GET.{stream}.{subject}" if subject else f"$JS.API.DIRECT.GET.{stream}"


def stream_info(stream: str) -> str:
    """The JetStream API's question about a stream (controller only)."""
    return f"$JS.API.STREAM.INFO.{stream}"


def jetstream_api(verb: str) -> str:
    """The JetStream API's subject for a verb such as `STREAM.INFO.STATE`."""
    return f"$JS.API.{verb}"


# Parsers


@dataclass(frozen=True, slots=True)
class StateSubject:
    cluster: ClusterId
    aspect: str


@dataclass(frozen=True, slots=True)
class EventSubject:
    realm: str
    cluster: str
    type: str


@dataclass(frozen=True, slots=True)
class DocumentSubject:
    kind: str
    name: str


def _tokens(subject: str, word: str, count: int) -> list[str] | None:
    tokens = subject.split(".")
    if len(tokens) != count or tokens[:2] != ["fleet", "v1"] or tokens[2] != word:
        return None
    return tokens[3:]


def parse_state(subject: str) -> StateSubject | None:
    """Inverse of `state`; None for anything else."""
    rest = _tokens(subject, "state", 6)
    cluster = _cluster(rest)
    return StateSubject(cluster, rest[2]) if rest and cluster else None


def parse_cluster(subject: str, word: str) -> ClusterId | None:
    """The cluster in a five-token subject whose third token is `word`; None for anything else."""
    return _cluster(_tokens(subject, word, 5))


def parse_nudge(subject: str) -> tuple[ClusterId, str] | None:
    rest = _tokens(subject, "nudge", 6)
    cluster = _cluster(rest)
    return (cluster, rest[2]) if rest and cluster and rest[2] in MAILBOXES else None


def parse_event(subject: str) -> EventSubject | None:
    tokens = subject.split(".")
    if len(tokens) < 7 or tokens[:3] != ["fleet", "v1", "event"]:
        return None
    type_ = ".".join(tokens[5:])
    if not _EVENT_TYPE.fullmatch(type_):
        return None
    return EventSubject(tokens[3], tokens[4], type_)


def parse_document(subject: str) -> DocumentSubject | None:
    rest = _tokens(subject, "document", 5) or _tokens(subject, "status", 5)
    return DocumentSubject(rest[0], rest[1]) if rest else None


def parse_audit(subject: str) -> int | None:
    """Inverse of `audit`; None for anything else."""
    rest = _tokens(subject, "audit", 4)
    return int(rest[0]) if rest and _NUMBER.fullmatch(rest[0]) else None


def parse_artifact(subject: str) -> str | None:
    rest = _tokens(subject, "artifact", 4)
    return rest[0] if rest and _DIGEST.fullmatch(rest[0]) else None


def _cluster(rest: list[str] | None) -> ClusterId | None:
    if rest is None or not _LABEL.fullmatch(rest[0]) or not _LABEL.fullmatch(rest[1]) or rest[1] in _RESERVED:
        return None
    return ClusterId(rest[0], rest[1])


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` is one that a subscription to `pattern` (with `*` and `>`) receives."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        tokens, rest = tokens[: len(wanted)], tokens[len(wanted) :]
        if not rest:
            return False
    return len(wanted) == len(tokens) and all(
        want in ("*", token) for want, token in zip(wanted, tokens, strict=True)
    )
