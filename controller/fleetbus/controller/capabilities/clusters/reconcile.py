"""A Cluster: what its agent found, whether it is heard, whether it has what it was told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from fleetbus.controller.capabilities.clusters.transitions import transitions
from fleetbus.controller.decisions.placed import Placements
from fleetbus.controller.ports import Capability, Change, ClusterView, Key, Outcome, Ports, View
from fleetbus.schemas.agent_pod import AGENT_LOGS
from fleetbus.schemas.approvals import SET, approvals_missing
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.capabilities.clusters import ClusterDetails, ClusterSpec
from fleetbus.schemas.charter import written
from fleetbus.schemas.conditions import Status, looked
from fleetbus.schemas.desired import CONTRACT
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.limits import CONNECTIONS_AN_AGENT, MESSAGES_PER_S
from fleetbus.schemas.states import Facts

_SERIALS_LATE_MS = 10 * 60 * 1000
"""Serials are milliseconds or more."""


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
    details = _details(cluster, before)
    condition = looked(now, document.generation)
    conditions = [
        condition(words.CONNECTED, *_connected(cluster, details)),
        condition(words.RESPONSIVE, *_responsive(cluster, details)),
        condition(words.SYNCED, *_synced(cluster)),
        condition(words.NAME_UNIQUE, *_unique(cluster)),
    ]
    if (approved := _approved(document.name, details)) is not None:
        conditions.append(condition(words.APPROVED, *approved))
    return Outcome(conditions, details.as_json())


def _connected(cluster: ClusterView, details: ClusterDetails) -> tuple[Status, str, str]:
    """Unknown and not False: what is away cannot be seen, and comes back by itself."""
    if not details.registered:
        command = f"fleetbus cluster join {cluster.id.name}"
        return "Unknown", words.REASON_NEVER_SEEN, f"no agent has registered yet; {command} prepares one"
    match cluster.presence.link:
        case "connected":
            return "True", words.REASON_CONNECTED, ""
        case "flapping":
            message = f"its connection is lost and made again all the time; {AGENT_LOGS}"
            return "Unknown", words.REASON_FLAPPING, message
        case "unobserved":
            message = "the bus's servers do not tell who is connected; `fleetbus init --online` mends it"
            return "Unknown", words.REASON_UNOBSERVED, message
        case "disconnected":
            why = f"its connection has ended: {details.left}" if details.left else "it has no connection"
            return "Unknown", words.REASON_DISCONNECTED, f"{why}; {AGENT_LOGS}"


def _responsive(cluster: ClusterView, details: ClusterDetails) -> tuple[Status, str, str]:
    """Of one that is not connected nothing can be said."""
    presence = cluster.presence
    if not details.registered:
        return "Unknown", words.REASON_NEVER_SEEN, "no agent has registered yet"
    if presence.flooding:
        flood = (
            f"more than {MESSAGES_PER_S} messages a second come from it, and hinder the others of its realm"
        )
        end = f"`fleetbus cluster revoke {cluster.id.name}` ends it"
        return "False", words.REASON_FLOODING, f"{flood}; {end}"
    if presence.link == "disconnected":
        return "Unknown", words.REASON_DISCONNECTED, "it is not connected"
    if presence.responsive is None:
        return "Unknown", words.REASON_HEARTBEAT_AWAITED, "connected, and not heard yet"
    if presence.responsive:
        return "True", words.REASON_HEARTBEAT, ""
    return "False", words.REASON_HEARTBEAT_MISSED, f"no heartbeat comes from its agent; {AGENT_LOGS}"


def _unique(cluster: ClusterView) -> tuple[Status, str, str]:
    if cluster.claimed:
        name = cluster.id.name
        return "False", words.REASON_NAME_CLAIMED, f"{cluster.claimed}; `fleetbus cluster dismiss {name}`"
    if cluster.presence.crowded:
        copy = f"more than {CONNECTIONS_AN_AGENT} connections have its key: who else has its Secret?"
        again = f"`fleetbus cluster join {cluster.id.name}` gives it another key"
        return "False", words.REASON_TOO_MANY, f"{copy} {again}"
    return "True", words.REASON_ENROLLED, ""


def _approved(cluster: str, details: ClusterDetails) -> tuple[Status, str, str] | None:
    """None for a cluster that never asked for approvals."""
    protection = details.protection
    if protection is None:
        return ("True", words.REASON_NOT_PROTECTED, "") if details.was_protected else None
    if protection.trouble:
        said = f"the Protection in its cluster is not as it must be: {protection.trouble}"
        return "False", words.REASON_PROTECTION_BROKEN, said
    if protection.waiting:
        first, more = protection.waiting[0], len(protection.waiting) - 1
        said = approvals_missing(first, cluster) + (f" (and {more} more)" if more else "")
        return "Unknown", words.REASON_APPROVAL_MISSING, said
    return "True", words.REASON_APPROVED, f"{protection.required} of {len(protection.approvers)} must approve"


def _synced(cluster: ClusterView) -> tuple[Status, str, str]:
    if cluster.refused:
        return "False", words.REASON_STATE_REFUSED, f"what it reports is refused: {cluster.refused}"
    session, facts = cluster.session, cluster.facts
    if session is not None and CONTRACT not in session.contracts:
        message = f"its agent cannot read contract {CONTRACT}: run an agent of the controller's version"
        return "False", words.REASON_NO_COMMON_CONTRACT, message
    if facts is not None and facts.refused:
        return "False", words.REASON_DESIRED_REFUSED, f"its agent refuses what it is told: {facts.refused}"
    if facts is None or cluster.published == (0, 0):
        return "Unknown", words.REASON_BEHIND, "nothing has been told and accepted yet"
    if _waits(facts):
        return "Unknown", words.REASON_BEHIND, "the newest desired state waits for approvals"
    if facts.accepted >= cluster.published or facts.accepted_set == cluster.published_set:
        return "True", words.REASON_UP_TO_DATE, ""
    return "Unknown", words.REASON_BEHIND, "it has not accepted the newest desired state yet"


def _waits(facts: Facts) -> bool:
    """Whether the set that it was told last waits for approvals there."""
    return facts.protection is not None and any(one.kind == SET for one in facts.protection.waiting)


def _details(cluster: ClusterView, before: ClusterDetails) -> ClusterDetails:
    session, facts = cluster.session, cluster.facts
    stated = cluster.states.get("session")
    spec = ClusterSpec.model_validate(cluster.document.spec)
    details = before.model_copy(
        update={
            **(_found(facts, before) if facts else {}),
            "uid": spec.uid or (stated.uid if stated else ""),
            "agent_version": session.agent_version if session else before.agent_version,
            "agent_started_at": session.started_at if session else before.agent_started_at,
            "published_serial": cluster.published[1],
            "registered": before.registered or (session is not None and facts is not None),
            "left": cluster.presence.left,
        }
    )
    return _with_serials(details, before, cluster)


def _with_serials(details: ClusterDetails, before: ClusterDetails, cluster: ClusterView) -> ClusterDetails:
    """With the serials of what was accepted, when the status is written anyway or they are long not written."""
    known = before.serials if before.uid == details.uid else {}
    serials = {aspect: state.serial for aspect, state in sorted(cluster.states.items())}
    late = any(serial - known.get(aspect, 0) > _SERIALS_LATE_MS for aspect, serial in serials.items())
    if details == before and not late:
        return details
    return details.model_copy(update={"serials": {**known, **serials}})


def _found(facts: Facts, before: ClusterDetails) -> dict[str, Any]:
    return {
        "protection": facts.protection,
        "was_protected": before.was_protected or (True if facts.protection is not None else None),
        "kubernetes_version": facts.kubernetes_version,
        "nodes": facts.nodes,
        "cpu": facts.capacity.cpu,
        "memory_bytes": facts.capacity.memory_bytes,
        "provider": facts.provider,
        "region": facts.region,
        "issuer": facts.issuer,
        "accepted_serial": facts.accepted[1],
        "charter": written(facts.charter) if facts.charter > (0, 0) else "",
    }


def affected(placements: Placements, change: Change, view: View) -> Iterable[Key]:
    """Itself, whenever its document, its reports or its presence move; and all that a placed document moves on."""
    if change.kind == "Cluster":
        if change.what != "status":
            yield ("Cluster", change.name)
    elif change.what in ("document", "status"):
        for name in sorted(placements.moved((change.kind, change.name), view)):
            if name in view.clusters:
                yield ("Cluster", name)
