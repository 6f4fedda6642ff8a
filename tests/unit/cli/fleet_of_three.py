"""A fleet that answers from values, for tests of what the command prints; the real path is tested end to end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from nacl.signing import SigningKey

from fleetbus.cli.output import Output, Screen
from fleetbus.cli.program import main
from fleetbus.client import Event
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas import api
from fleetbus.schemas.approvals_api import ApprovalResult, ApprovalRow, ApprovalsResult
from fleetbus.schemas.audit import ORIGIN, AuditRecord, Link, sealed
from fleetbus.schemas.capabilities.commands import CommandOrder, CommandRow
from fleetbus.schemas.charter import Sealed
from fleetbus.schemas.enrolment_api import (
    AdmittedTokenResult,
    ApproveRequest,
    EnrolmentsResult,
    RetireRequest,
    TokenRequest,
)
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.events import Severity
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.people import ExpelRequest
from fleetbus.schemas.signing import signer

Json = dict[str, Any]


def ago(**what: float) -> str:
    return (SystemClock().now() - timedelta(**what)).isoformat()


def condition(type_: str, status: str, reason: str, message: str = "", **since: float) -> Json:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionAt": ago(**(since or {"minutes": 4})),
        "observedGeneration": 1,
    }


def document(kind: str, name: str, spec: Json, details: Json, *conditions: Json, **metadata: Any) -> Json:
    generation = metadata.pop("generation", 1)
    return {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": generation,
            "createdAt": ago(days=41),
            **metadata,
        },
        "spec": spec,
        "status": {
            "observedGeneration": generation,
            "conditions": list(conditions),
            "details": details,
        },
    }


def cluster(name: str, ready: str, reason: str, *, bundles_ready: int = 7, **details: Any) -> Json:
    found = {
        "kubernetesVersion": "v1.36.3",
        "nodes": 3,
        "cpu": "12",
        "memoryBytes": 48 * 2**30,
        "provider": "kwok",
        "region": "eu-west-1",
        "agentVersion": "0.1.0",
        "contents": {"bundles": {"ready": bundles_ready, "placed": 7}, "secrets": {"ready": 4, "placed": 4}},
        **details,
    }
    spec = {"realm": "main", "key": "U0", "uid": f"kube-{name}", "owner": "team-edge"}
    return document(
        "Cluster", name, spec, found, condition("Ready", ready, reason), labels={"env": name.split("-")[0]}
    )


COMMIT = "4be81d0" + "a" * 33


def bundle(name: str, status: str, reason: str, message: str = "", **details: Any) -> Json:
    found = {
        "revision": f"v4.13.0@sha1:{COMMIT}",
        "artifact": "41c0" * 16,
        "objects": 22,
        "placed": ["dev-eu", "prod-us"],
        "excluded": [
            {"cluster": "staging-eu", "clause": "selector env in (dev, prod)", "message": "has env=staging"}
        ],
        "ready": 1,
        "updated": 2,
        "drifted": 0,
        "clusters": [
            {
                "cluster": "dev-eu",
                "ready": "True",
                "reason": "Healthy",
                "revision": f"v4.13.0@sha1:{COMMIT}",
                "objects": 22,
                "readyObjects": 22,
                "since": ago(minutes=9),
            },
            {
                "cluster": "prod-us",
                "ready": "False",
                "reason": "WorkloadFailing",
                "message": "Deployment ingress/controller: 0 of 3 ready, ImagePullBackOff registry.example.com/x",
                "revision": f"v4.13.0@sha1:{COMMIT}",
                "objects": 22,
                "readyObjects": 21,
                "since": ago(minutes=4),
            },
        ],
        **details,
    }
    spec = {"source": "platform", "path": "ingress", "placement": {}, "untarget": "Remove"}
    return document(
        "Bundle",
        name,
        spec,
        found,
        condition("SourceReady", "True", "SourceRead", hours=1),
        condition("Rendered", "True", "Rendered", "1 artifact", hours=1),
        condition("Ready", status, reason, message),
        generation=7,
    )


def source(name: str, commit: str = COMMIT, fetched: Json | None = None) -> Json:
    return document(
        "Source",
        name,
        {"git": {"url": "https://git.example.com/platform.git", "ref": {"tag": "v4.13.0"}}, "interval": "1m"},
        {
            "ref": "v4.13.0",
            "commit": commit,
            "author": "Ana Ruiz",
            "subject": "ingress-nginx 1.13",
            "fetchedAt": ago(hours=1),
        },
        fetched or condition("Fetched", "True", "Fetched"),
        condition("Ready", "True", "Ready"),
    )


def binding(name: str, clusters: list[Json], **details: Any) -> Json:
    return document(
        "SecretBinding",
        name,
        {
            "vault": {"path": "payments/db"},
            "target": {"namespace": "payments", "name": "db"},
            "placement": {},
        },
        {
            "placed": ["dev-eu", "prod-us"],
            "clusters": clusters,
            "synced": 2,
            "version": 12,
            **details,
        },
        condition("Synced", "True", "SecretSynced", minutes=14),
        condition("Ready", "True", "Ready"),
    )


def event(
    sequence: int, type_: str, reason: str, cluster_name: str, subject: str, message: str, severity: Severity
) -> Event:
    return Event(
        id=f"o.{sequence}",
        source="/fleets/demo" + (f"/clusters/{cluster_name}" if cluster_name else ""),
        type=f"dev.fleetbus.{type_}.v1",
        subject=subject,
        time=SystemClock().now().replace(hour=10, minute=33, second=7, microsecond=0),
        severity=severity,
        origin="o",
        transition=sequence,
        data={"reason": reason, "message": message},
        sequence=sequence,
    )


AUDIT_KEY = SigningKey(bytes(range(32)))
AUDITED_AT = datetime(2026, 11, 24, 9, 30, 0, tzinfo=UTC)


def audit_chain(*told: Mapping[str, Any], key: SigningKey = AUDIT_KEY) -> list[tuple[str, bytes, Link]]:
    """Subject, envelope and place of a record for each of `told`, a minute apart."""
    chain: list[tuple[str, bytes, Link]] = []
    link = ORIGIN
    for given in told:
        fields: Json = {
            "fleet": "demo",
            "number": link.number + 1,
            "previous": link.digest,
            "at": AUDITED_AT + timedelta(minutes=link.number),
            "actor": "ana",
            "action": "apply",
            "outcome": "done",
            **given,
        }
        sealed_ = sealed(AuditRecord.model_validate(fields), signer(key))
        link = sealed_[2]
        chain.append(sealed_)
    return chain


@dataclass
class Answers:
    """What the fleet knows, and what it was asked."""

    rows: dict[str, list[api.Row]] = field(default_factory=dict)
    later: list[api.ListResult] = field(default_factory=list)
    """What a watch shows after the first list."""
    overview: api.Overview = field(default_factory=lambda: api.Overview(fleet="demo"))
    explained: api.Explained = field(default_factory=lambda: api.Explained(name="ingress"))
    events: list[Event] = field(default_factory=list)
    commands: list[tuple[CommandRow, ...]] = field(default_factory=list)
    """One more with each look; the last stays."""
    records: list[tuple[str, bytes, Link]] = field(default_factory=list)
    """The audit chain; `newest` where it ends, when that is not the last of them."""
    newest: str = ""
    admitted: AdmittedTokenResult | None = None
    enrolments: EnrolmentsResult = field(default_factory=EnrolmentsResult)
    charter: Sealed | None = None
    approvals: ApprovalsResult = field(default_factory=lambda: ApprovalsResult(fleet="demo"))
    unasked: tuple[ApprovalRow, ...] = ()
    """What a controller answers besides."""
    artifacts: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    fails: Exception | None = None


class FleetOfThree:
    """The methods of `fleetbus.client.Fleet` over values."""

    insecure = False

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def list(
        self, kind: str, *, names: tuple[str, ...] = (), labels: str = "", bundle: str = ""
    ) -> api.ListResult:
        rows = self.answers.rows.get(kind, [])
        if names:
            rows = [row for row in rows if row.document["metadata"]["name"] in names]
            if len(rows) < len(names):
                raise NotFound(f"there is no {kind} `{names[0]}`")
        return api.ListResult(rows=tuple(rows), version=1)

    async def watch(
        self, kind: str, *, names: tuple[str, ...] = (), labels: str = ""
    ) -> AsyncGenerator[api.ListResult, None]:
        rows = self.answers.rows.get(kind, [])
        yield api.ListResult(
            rows=tuple(row for row in rows if not names or row.document["metadata"]["name"] in names)
        )
        for result in self.answers.later:
            yield result
        if self.answers.fails:
            raise self.answers.fails
        await SystemClock().sleep(60)

    async def describe(self, kind: str, name: str) -> api.Described:
        row = (await self.list(kind, names=(name,))).rows[0]
        events = tuple(one.as_json() for one in self.answers.events)
        return api.Described(document=row.document, live=row.live, events=events)

    async def explain(self, name: str, *, cluster: str = "", kind: str = "Bundle") -> api.Explained:
        return self.answers.explained

    async def charter(self, root: str, fleet: str) -> Sealed | None:
        return self.answers.charter

    async def overview(self) -> api.Overview:
        if self.answers.fails:
            raise self.answers.fails
        return self.answers.overview

    async def apply(
        self, documents: Iterable[Mapping[str, Any]], *, dry_run: bool = False, reason: str = ""
    ) -> api.ApplyResult:
        given = [dict(one) for one in documents]
        self.answers.asked.append(("apply", given))
        return api.ApplyResult(
            applied=tuple(
                api.Applied(kind=one["kind"], name=one["metadata"]["name"], verb="created", generation=1)
                for one in given
            )
        )

    async def delete(self, kind: str, name: str, *, policy: str = "", reason: str = "") -> api.Accepted:
        self.answers.asked.append(("delete", (kind, name, policy, reason)))
        return api.Accepted(kind=kind, name=name, message="it goes when every placed cluster's receipt is in")

    async def expel(self, asked: ExpelRequest) -> api.Accepted:
        self.answers.asked.append(("expel", asked))
        return api.Accepted(kind=asked.kind, name=asked.name, message="noted in the audit, and told")

    async def retire(self, asked: RetireRequest) -> api.Accepted:
        self.answers.asked.append(("retire", asked))
        return api.Accepted(kind="Cluster", name=asked.name, message="its keys count no more")

    async def admit_token(self, asked: TokenRequest) -> AdmittedTokenResult:
        self.answers.asked.append(("token", asked))
        assert self.answers.admitted is not None
        return self.answers.admitted

    async def approve(self, asked: ApproveRequest) -> api.Accepted:
        self.answers.asked.append(("approve", asked))
        said = "dismissed: its open tokens are withdrawn" if asked.dismiss else "approved: it is let in"
        return api.Accepted(kind="Cluster", name=asked.name, message=said)

    async def enrolments(self, *, name: str = "") -> EnrolmentsResult:
        return self.answers.enrolments

    async def approvals(self, *clusters: str) -> ApprovalsResult:
        rows = tuple(one for one in self.answers.approvals.rows if not clusters or one.cluster in clusters)
        return self.answers.approvals.model_copy(update={"rows": (*rows, *self.answers.unasked)})

    async def artifact(self, digest: str) -> bytes:
        if digest not in self.answers.artifacts:
            raise NotFound(f"artifact {digest[:12]} is not stored")
        return self.answers.artifacts[digest]

    async def hand_in(self, approvals: Sequence[str], *, reason: str = "") -> ApprovalResult:
        self.answers.asked.append(("approval", (tuple(approvals), reason)))
        return ApprovalResult()

    async def release(self, kind: str, name: str, *, prune: int, reason: str = "") -> api.Accepted:
        if self.answers.fails:
            raise self.answers.fails
        self.answers.asked.append(("release", (kind, name, prune)))
        return api.Accepted(kind=kind, name=name, message=f"{prune} held objects may be pruned now")

    async def audit(
        self, *, after: int = 0, follow: bool = False, **wanted: Any
    ) -> AsyncGenerator[api.AuditResult, None]:
        self.answers.asked.append(("audit", {"after": after, **wanted}))
        records = [one for one in self.answers.records if one[2].number > after]
        newest = self.answers.newest or (str(self.answers.records[-1][2]) if self.answers.records else "")
        for page in ((one,) for one in records) if records else ((),):
            rows = tuple(api.AuditRow(subject=one[0], envelope=one[1].decode()) for one in page)
            yield api.AuditResult(rows=rows, newest=newest, fleet="demo", keys=(public_key(AUDIT_KEY),))

    async def sync(self, kind: str, name: str, *, reason: str = "") -> api.Accepted:
        self.answers.rows["Source"] = [api.Row(document=source(name, "9c1f2e7" + "b" * 33))]
        return api.Accepted(kind=kind, name=name)

    async def revoke(self, name: str, *, reason: str = "") -> api.Accepted:
        self.answers.asked.append(("revoke", (name, reason)))
        return api.Accepted(kind="SecretBinding", name=name)

    async def run_command(self, order: CommandOrder) -> CommandRow:
        self.answers.asked.append(("run", order))
        return CommandRow(id="01kb5xq7t2m4a9zc", cluster=order.cluster, driver=order.driver, phase="Accepted")

    async def list_commands(self, *, cluster: str = "") -> tuple[CommandRow, ...]:
        commands = self.answers.commands
        return commands.pop(0) if len(commands) > 1 else commands[0] if commands else ()

    async def cancel_command(self, id: str) -> CommandRow:
        return CommandRow(id=id, cluster="dev-eu", driver="job", phase="Cancelled")

    async def events(
        self, type: str = "*", since: Any = None, *, follow: bool = True
    ) -> AsyncGenerator[Event, None]:
        self.answers.asked.append(("events", (type, since, follow)))
        for one in self.answers.events:
            yield one


@dataclass(frozen=True)
class Ran:
    """How one run of the command ended, and what it wrote."""

    code: int
    out: str
    err: str


def run(answers: Answers | None = None, *arguments: str, terminal: bool = False, colour: bool = False) -> Ran:
    """One run in this process."""

    @asynccontextmanager
    async def connect(context: str) -> AsyncIterator[Any]:
        yield FleetOfThree(answers or Answers())

    out, err = StringIO(), StringIO()
    screen = Screen(terminal, 100, colour)
    code = main(arguments, output=Output(out, err, screen, screen), connect=connect)
    return Ran(code, out.getvalue(), err.getvalue())


def rows(*documents: Json, **live: Any) -> list[api.Row]:
    return [api.Row(document=one, live=live) for one in documents]


def three_clusters() -> list[api.Row]:
    return [
        *rows(
            cluster("dev-eu", "True", "Ready"),
            connected=True,
            responsive=True,
            server="fleet-1",
            lastSeenS=1.2,
        ),
        *rows(
            cluster("edge-31", "Unknown", "Disconnected", nodes=1),
            connected=False,
            responsive=False,
            lastSeenS=840.0,
        ),
        *rows(
            cluster("prod-us", "False", "BundleNotReady", bundles_ready=6, nodes=50),
            connected=True,
            responsive=True,
            server="fleet-2",
            connectedAt="2026-11-24T08:00:00+00:00",
            lastSeenS=0.4,
        ),
    ]
