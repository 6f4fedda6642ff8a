"""The bytes of every message of contract 1, as they were once sent: they are read for ever, and written the same.

A change that is wanted may only add: move `NAME.bin` to `NAME.RELEASE.bin`, then run
`FLEETBUS_WRITE_GOLDEN=1 pytest tests/golden`. Both are read from then on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.controller.leader import LeaseRecord, TermRecord
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.audit import ORIGIN, OUTCOME_DONE, AuditRecord, Edit
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.capabilities.bundles import (
    CLUSTER_READY,
    EVENT_APPLIED,
    REASON_APPLIED,
    REASON_CLUSTER_READY,
    BundleEntry,
    BundlesSection,
    BundlesState,
    BundleState,
    aspect_of,
)
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection
from fleetbus.schemas.charter import Charter
from fleetbus.schemas.conditions import READY, Condition
from fleetbus.schemas.desired import Command, CommandList, DesiredSet, Head, Retired, SectionRef
from fleetbus.schemas.documents import Status, Stored, Tombstone
from fleetbus.schemas.events import Happened, Outbox, cloud_event
from fleetbus.schemas.models import Received
from fleetbus.schemas.nkeys import Kind, public_key
from fleetbus.schemas.signing import covered, verify, wrapped
from fleetbus.schemas.states import CommandResult, Facts, Heartbeat, Results, Session, State
from fleetbus.schemas.subjects import ClusterId

FOLDER = Path(__file__).with_name("contract-1")
AT = datetime(2026, 11, 24, 9, 0, 0, 123000, tzinfo=UTC)
CLUSTER = ClusterId("main", "prod-us")
CONTROLLER = SigningKey(bytes(range(32)))
AGENT = SigningKey(bytes(range(32, 64)))
ROOT = SigningKey(bytes(range(64, 96)))
DIGEST = "4b" * 32
BUNDLE = "01jd4xqz0000000"
READ = Condition(type=READY, status="True", reason=READY, last_transition_at=AT, observed_generation=3)


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: where it lies, what it says, and who signs it."""

    subject: str
    value: Received
    key: SigningKey | None = None
    kind: Kind = Kind.USER

    def envelope(self) -> bytes:
        content = self.value.to_bytes()
        if self.key is None:
            return content
        signature = self.key.sign(covered(self.subject, content)).signature
        return wrapped(content, {public_key(self.key, self.kind): signature})

    def opened(self, stored: bytes) -> bytes:
        if self.key is None:
            return stored
        return verify(self.subject, stored, [public_key(self.key, self.kind)], kind=self.kind)


def _told(model: type[Head] | type[CommandList], **fields: object) -> Received:
    given = {"fleet": "shop", "cluster": "uid-1", "epoch": 2, "serial": 1764000000123, "issued_at": AT}
    return model.model_validate({**given, **fields})


def _state(aspect: str, body: Received, *happened: Happened) -> State:
    return State(
        fleet="shop",
        cluster=CLUSTER.name,
        uid="uid-1",
        aspect=aspect,
        session=41,
        serial=1764000000124,
        at=AT,
        body=body.as_json(),
        outbox=Outbox(sequence=6).with_(AT, *happened),
    )


APPLIED = Happened(
    type=EVENT_APPLIED,
    subject="bundle/ingress",
    reason=REASON_APPLIED,
    message="3 objects at main@sha1:4be81d0",
    details={"artifact": DIGEST},
)
BUNDLES = BundlesState(
    bundles=(
        BundleState(
            id=BUNDLE,
            name="ingress",
            generation=3,
            revision="main@sha1:4be81d0",
            artifact=DIGEST,
            applied_artifact=DIGEST,
            objects=3,
            ready=3,
            conditions=(READ,),
        ),
    )
)
SESSION = Session(
    holder="agent-7f", agent_version="0.1.0", started_at=AT, sections={"bundles": 1, "secrets": 1}
)
FACTS = Facts(
    kubernetes_version="v1.36.3",
    nodes=3,
    provider="aws",
    region="us-east-1",
    api_groups=("", "apps"),
    issuer="https://issuer.example.com",
    agent_version="0.1.0",
    accepted=(2, 1764000000123),
    accepted_set=DIGEST,
)
COMMANDS = (
    Command(
        id="01jd4xr00000000",
        driver="job",
        arguments={"image": "registry.example.com/upgrade:1.37"},
        issued_at=AT,
        deadline=AT + timedelta(minutes=10),
        issued_by="admin",
    ),
)
RESULTS = Results(
    commands=(
        CommandResult(
            id=COMMANDS[0].id,
            driver="job",
            phase="Succeeded",
            progress_percent=100,
            started_at=AT,
            finished_at=AT + timedelta(seconds=90),
            output={"nodes": 3},
        ),
    )
)
DOCUMENT = Stored(
    kind="Bundle",
    name="ingress",
    uid=BUNDLE,
    generation=3,
    labels={"team": "edge"},
    created_at=AT,
    updated_at=AT + timedelta(days=1),
    spec={
        "source": "platform",
        "path": "ingress",
        "placement": {"selector": {"matchLabels": {"env": "prod"}}},
    },
)
ENTRY = BundleEntry(
    id=BUNDLE, name="ingress", generation=3, revision="main@sha1:4be81d0", artifact=DIGEST, objects=3
)
SECRET = SecretEntry(
    id="01jd4xqz1111111",
    name="payments-db",
    generation=1,
    path="main/prod-us/payments/db",
    namespace="payments",
    secret="db",
)
SET = DesiredSet(
    sections={"bundles": SectionRef(version=1, digest=DIGEST)},
    retired=(Retired(capability="bundles", id="01jd4xqz2222222", name="old", policy="Remove", count=4),),
)

SENT: dict[str, Sent] = {
    "head": Sent(
        subjects.desired(CLUSTER),
        _told(Head, not_after=AT + timedelta(days=1), halts=("ingress",), set=DIGEST),
        CONTROLLER,
    ),
    "commands": Sent(subjects.command(CLUSTER), _told(CommandList, commands=COMMANDS), CONTROLLER),
    "set": Sent(subjects.artifact(artifact(SET.as_json()).name), SET),
    "section-bundles": Sent("", BundlesSection(bundles=(ENTRY,))),
    "section-secrets": Sent("", SecretsSection(secrets=(SECRET,))),
    "state-session": Sent(subjects.state(CLUSTER, "session"), _state("session", SESSION), AGENT),
    "state-facts": Sent(subjects.state(CLUSTER, "facts"), _state("facts", FACTS), AGENT),
    "state-bundles": Sent(
        subjects.state(CLUSTER, aspect_of(BUNDLE)), _state(aspect_of(BUNDLE), BUNDLES, APPLIED), AGENT
    ),
    "result": Sent(subjects.result(CLUSTER), _state("result", RESULTS), AGENT),
    "heartbeat": Sent(subjects.heartbeat(CLUSTER), Heartbeat(session=41, at=AT, server="nats-1")),
    "event": Sent(
        subjects.emit("main", "prod-us", EVENT_APPLIED),
        cloud_event("shop", "prod-us", f"uid-1/{aspect_of(BUNDLE)}", Outbox().with_(AT, APPLIED).pending[0]),
    ),
    "document": Sent(subjects.document("bundle", "ingress"), DOCUMENT, CONTROLLER),
    "document-deleting": Sent(
        subjects.document("bundle", "ingress"),
        DOCUMENT.model_copy(update={"deleting": Tombstone(at=AT, policy="Keep", by="admin")}),
        CONTROLLER,
    ),
    "status": Sent(
        subjects.status("cluster", "prod-us"),
        Status(
            kind="Cluster",
            name="prod-us",
            uid="01jd4xqz3333333",
            observed_generation=1,
            conditions=(
                READ.model_copy(update={"type": CLUSTER_READY, "reason": REASON_CLUSTER_READY}),
                READ,
            ),
            details={"contents": {"bundles": {"placed": 1, "ready": 1}}},
        ),
        CONTROLLER,
    ),
    "audit": Sent(
        subjects.audit(1),
        AuditRecord(
            fleet="shop",
            number=1,
            previous=ORIGIN.digest,
            at=AT,
            actor="admin",
            key=public_key(CONTROLLER),
            action="apply",
            object="bundle/ingress",
            outcome=OUTCOME_DONE,
            reason="INC-1",
            generation_before=2,
            generation_after=3,
            before="a" * 64,
            after="b" * 64,
            edits=(Edit(path="spec.path", before='"a"', after='"b"'),),
        ),
        CONTROLLER,
    ),
    "charter": Sent(
        subjects.CHARTER,
        Charter(
            fleet="shop",
            epoch=2,
            version=1764000000,
            issued_at=AT,
            publish=(public_key(CONTROLLER),),
            former=(public_key(AGENT),),
            authorities="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        ),
        ROOT,
        Kind.OPERATOR,
    ),
    "term": Sent(subjects.TERM, TermRecord(term=7, holder="boot/ns/1/2", epoch=2)),
    "lease": Sent(subjects.LEASE, LeaseRecord(holder="boot/ns/1/2", claim="01jd4xqz5555555")),
}


@pytest.mark.parametrize("name", sorted(SENT))
def test_a_message_is_written_and_read_as_it_was(name: str) -> None:
    sent, file = SENT[name], FOLDER / f"{name}.bin"
    if os.environ.get("FLEETBUS_WRITE_GOLDEN"):
        file.write_bytes(sent.envelope())
    stored = file.read_bytes()
    assert sent.envelope() == stored
    content = sent.opened(stored)
    read = type(sent.value).from_bytes(content)
    assert read.to_bytes() == content
    assert read == sent.value


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: str(file.stem))
def test_every_stored_message_is_still_read(file: Path) -> None:
    sent = SENT[file.stem.partition(".")[0]]
    type(sent.value).from_bytes(sent.opened(file.read_bytes()))


@pytest.mark.parametrize("name", sorted(SENT))
def test_what_a_later_version_adds_is_passed_over(name: str) -> None:
    """Within a contract changes are additive: today's reader reads tomorrow's message."""
    model = type(SENT[name].value)
    later = {**SENT[name].value.as_json(), "somethingNew": {"of": ["a", "later", "version"]}}
    assert model.from_bytes(canonical(later)) == SENT[name].value
