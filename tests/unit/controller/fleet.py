"""Values of a small fleet for tests of the controller: clusters, documents, statuses, states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleetbus.controller.ports import Capability, ClusterView, GroupAdmin, Key, Outcome, Ports, Presence, View
from fleetbus.controller.readiness import with_readiness
from fleetbus.controller.reconcile import next_status
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.bundles import BundleState, aspect_of
from fleetbus.schemas.conditions import Condition, find
from fleetbus.schemas.documents import Status, Stored, Tombstone
from fleetbus.schemas.events import Happened
from fleetbus.schemas.states import Facts, Session, State
from fleetbus.schemas.subjects import ClusterId

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HERE = Presence("connected", responsive=True)
AWAY = Presence("disconnected", responsive=False, left="Client Closed")
FACTS = Facts(
    kubernetes_version="v1.36.3",
    nodes=3,
    provider="kwok",
    region="eu-west-1",
    api_groups=("", "apps"),
    accepted=(1, 10),
)


def stored(kind: str, name: str, spec: Mapping[str, Any], *, generation: int = 1, **more: Any) -> Stored:
    return Stored(
        kind=kind,
        name=name,
        uid=f"uid-{kind.lower()}-{name}",
        generation=generation,
        created_at=NOW,
        updated_at=NOW,
        spec=dict(spec),
        **more,
    )


def cluster(
    name: str,
    labels: Mapping[str, str] | None = None,
    *,
    facts: Facts | None = FACTS,
    connected: bool = True,
    entity: str | None = None,
    **more: Any,
) -> ClusterView:
    spec = {"realm": "main", "key": "U" * 56, "vaultEntity": f"entity-{name}" if entity is None else entity}
    document = stored("Cluster", name, spec, labels=dict(labels or {}))
    session = Session(holder="pod", agent_version="0.1.0", started_at=NOW) if facts else None
    view = ClusterView(
        ClusterId("main", name),
        document,
        session=session,
        facts=facts,
        presence=HERE if connected else AWAY,
        last_seen_at=NOW if connected else None,
        published=(1, 10),
    )
    return replace(view, **more)


def reporting(view: ClusterView, aspect: str, body: Mapping[str, Any]) -> ClusterView:
    state = State(fleet="f", cluster=view.id.name, uid="u", aspect=aspect, serial=1, at=NOW, body=dict(body))
    return replace(view, states={**view.states, aspect: state})


def condition(type_: str, status: str = "True", reason: str = "Fine", message: str = "") -> Condition:
    return Condition.model_validate(
        {"type": type_, "status": status, "reason": reason, "message": message, "last_transition_at": NOW}
    )


def with_bundle(view: ClusterView, state: BundleState) -> ClusterView:
    return reporting(view, aspect_of(state.id), {"bundles": [state.as_json()]})


@dataclass
class Desk:
    """One capability at work on values: reconcile, keep the status, tell what happened.

    `catalogue`: whose readiness counts for a cluster.
    """

    capability: Capability
    work_dir: Path
    groups: GroupAdmin | None = None
    credentials_dir: Path | None = None
    local_sources: tuple[Path, ...] = (Path("/"),)
    documents: dict[Key, Stored] = field(default_factory=dict)
    statuses: dict[Key, Status] = field(default_factory=dict)
    clusters: dict[str, ClusterView] = field(default_factory=dict)
    asked: set[Key] = field(default_factory=set)
    now: datetime = NOW
    catalogue: Sequence[Capability] = ()

    def put(self, *documents: Stored) -> None:
        self.documents.update({document.key: document for document in documents})

    def join(self, *clusters: ClusterView) -> None:
        for one in clusters:
            self.clusters[one.id.name] = one
            self.put(one.document)

    def change(self, key: Key, **update: Any) -> Stored:
        self.documents[key] = self.documents[key].model_copy(update=update)
        return self.documents[key]

    def delete(self, key: Key, policy: str = "Remove") -> Stored:
        return self.change(key, deleting=Tombstone.model_validate({"at": self.now, "policy": policy}))

    def view(self) -> View:
        return View(
            "f", dict(self.documents), dict(self.statuses), dict(self.clusters), frozenset(self.asked)
        )

    async def reconcile(self, key: Key) -> tuple[Outcome, list[Happened]]:
        """The outcome, with its status kept as the controller's loop would, and what that tells."""
        self.now += timedelta(seconds=1)
        document, old = self.documents[key], self.statuses.get(key)
        ports = Ports(SystemClock(), self.groups, self.work_dir, self.credentials_dir, self.local_sources)
        outcome = await self.capability.reconcile(document, self.view(), ports, self.now)
        if key[0] == "Cluster" and document.deleting is None:
            told_of = self.clusters[key[1]]
            outcome = with_readiness(outcome, told_of, self.view(), self.catalogue, self.now)
        new = next_status(document, old, outcome, self.capability, self.now)
        before = len(old.outbox.pending) if old else 0
        told = [Happened.from_json(one.as_json()) for one in new.outbox.pending[before:]]
        self.statuses[key] = new
        return outcome, told

    def condition(self, key: Key, type_: str) -> Condition:
        found = find(self.statuses[key].conditions, type_)
        assert found is not None, f"no condition {type_}"
        return found

    def verdict(self, key: Key, type_: str) -> tuple[str, str]:
        found = self.condition(key, type_)
        return found.status, found.reason


def types(happened: Iterable[Happened]) -> list[str]:
    return [one.type for one in happened]
