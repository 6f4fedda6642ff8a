"""A Cluster: what its agent found, whether it is heard, whether it has what it was told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from fleetbus.controller.capabilities.clusters.contents import (
    Item,
    Placements,
    placed_bundles,
    placed_secrets,
)
from fleetbus.controller.capabilities.clusters.transitions import transitions
from fleetbus.controller.ports import Capability, Change, ClusterView, Key, Outcome, Ports, View
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.capabilities.clusters import ClusterDetails, ClusterSpec
from fleetbus.schemas.conditions import Condition, Status
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.states import Facts


def capability() -> Capability:
    return Capability(
        name=words.CAPABILITY,
        kind="Cluster",
        reconcile=reconcile,
        transitions=transitions,
        affected=partial(affected, Placements()),
    )


async def reconcile(document: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
    cluster = view.clusters.get(document.name)
    if document.deleting is not None:
        return Outcome(removable=True)
    if cluster is None:
        return Outcome()
    known = view.statuses.get(document.key)
    before = (
        ClusterDetails.from_json(known.details) if known and known.uid == document.uid else ClusterDetails()
    )
    bundles, secrets = placed_bundles(cluster, view), placed_secrets(cluster, view)
    details = _details(cluster, before).model_copy(
        update={
            "bundles": len(bundles),
            "bundles_ready": sum(one.ready == "True" for one in bundles),
            "secrets": len(secrets),
            "secrets_ready": sum(one.ready == "True" for one in secrets),
        }
    )

    def condition(type_: str, status: Status, reason: str, message: str = "") -> Condition:
        return Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message,
            last_transition_at=now,
            observed_generation=document.generation,
        )

    conditions = [
        condition(words.CONNECTED, *_connected(cluster, details)),
        condition(words.SYNCED, *_synced(cluster)),
        condition(words.BUNDLES_READY, *_bundles_ready(cluster, bundles)),
    ]
    return Outcome(conditions, details.as_json())


def _connected(cluster: ClusterView, details: ClusterDetails) -> tuple[Status, str, str]:
    """Unknown and not False: what is away cannot be seen, and comes back by itself."""
    if cluster.connected and details.registered:
        return "True", words.REASON_HEARTBEAT, ""
    if not details.registered:
        command = f"fleetbus cluster join {cluster.id.name}"
        return "Unknown", words.REASON_NEVER_SEEN, f"no agent has registered yet; {command} prepares one"
    return (
        "Unknown",
        words.REASON_DISCONNECTED,
        "no heartbeat; kubectl -n fleetbus-system logs deploy/fleetbus-agent",
    )


def _synced(cluster: ClusterView) -> tuple[Status, str, str]:
    if cluster.refused:
        return "False", words.REASON_STATE_REFUSED, f"what it reports is refused: {cluster.refused}"
    facts = cluster.facts
    if facts is not None and facts.refused:
        return "False", words.REASON_DESIRED_REFUSED, f"its agent refuses what it is told: {facts.refused}"
    if facts is None or cluster.published == (0, 0):
        return "Unknown", words.REASON_BEHIND, "nothing has been told and accepted yet"
    if facts.accepted >= cluster.published or facts.accepted_set == cluster.published_set:
        return "True", words.REASON_UP_TO_DATE, ""
    return "Unknown", words.REASON_BEHIND, "it has not accepted the newest desired state yet"


def _bundles_ready(cluster: ClusterView, bundles: Sequence[Item]) -> tuple[Status, str, str]:
    text = f"{sum(one.ready == 'True' for one in bundles)} of {len(bundles)} bundles are ready"
    if all(one.ready == "True" for one in bundles):
        return "True", words.REASON_BUNDLES_READY, text
    if not cluster.connected:
        return "Unknown", words.REASON_DISCONNECTED, f"{text} as it said last"
    failing = [one for one in bundles if one.ready == "False"]
    if failing:
        first = failing[0]
        more = f" (and {len(failing) - 1} more)" if failing[1:] else ""
        message = f"bundle/{first.name}: {first.reason}: {first.message}{more}".replace(": :", ":")
        return "False", words.REASON_BUNDLE_NOT_READY, message
    return "Unknown", words.REASON_BUNDLES_PROGRESSING, text


def _details(cluster: ClusterView, before: ClusterDetails) -> ClusterDetails:
    session, facts = cluster.session, cluster.facts
    stated = cluster.states.get("session")
    spec = ClusterSpec.model_validate(cluster.document.spec)
    return before.model_copy(
        update={
            **(_found(facts) if facts else {}),
            "uid": spec.uid or (stated.uid if stated else ""),
            "agent_version": session.agent_version if session else before.agent_version,
            "agent_started_at": session.started_at if session else before.agent_started_at,
            "published_serial": cluster.published[1],
            "registered": before.registered or (session is not None and facts is not None),
        }
    )


def _found(facts: Facts) -> dict[str, str | int]:
    return {
        "kubernetes_version": facts.kubernetes_version,
        "nodes": facts.nodes,
        "cpu": facts.capacity.cpu,
        "memory_bytes": facts.capacity.memory_bytes,
        "provider": facts.provider,
        "region": facts.region,
        "issuer": facts.issuer,
        "accepted_serial": facts.accepted[1],
    }


def affected(placements: Placements, change: Change, view: View) -> Iterable[Key]:
    """Itself, whenever its document, its reports or its presence move; and all that a placed document moves on."""
    if change.kind == "Cluster":
        if change.what != "status":
            yield ("Cluster", change.name)
    elif change.kind in ("Bundle", "SecretBinding") and change.what in ("document", "status"):
        for name in sorted(placements.moved((change.kind, change.name), view)):
            if name in view.clusters:
                yield ("Cluster", name)
