"""A SecretBinding: Vault is told who may read, the clusters are told where, their receipts are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from fleetbus.controller.capabilities.secrets import groups, placing, standing
from fleetbus.controller.capabilities.secrets.groups import Told
from fleetbus.controller.capabilities.secrets.placing import Placing
from fleetbus.controller.capabilities.secrets.readiness import readiness
from fleetbus.controller.capabilities.secrets.reports import known_details, reported_ids
from fleetbus.controller.capabilities.secrets.section import retired, section
from fleetbus.controller.capabilities.secrets.transitions import transitions
from fleetbus.controller.decisions.explain import explain_placement
from fleetbus.controller.ports import Capability, Change, Key, Outcome, Ports, View
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.secrets import SecretBindingDetails, SecretBindingSpec
from fleetbus.schemas.conditions import MAX_LISTED, Condition, Status
from fleetbus.schemas.documents import Stored


def capability() -> Capability:
    return Capability(
        name=words.CAPABILITY,
        kind="SecretBinding",
        reconcile=reconcile,
        transitions=transitions,
        affected=affected,
        section=section,
        retired=retired,
        readiness=readiness,
        explain=explain,
        release=placing.release,
    )


async def reconcile(document: Stored, view: View, ports: Ports, now: datetime) -> Outcome:
    spec = SecretBindingSpec.model_validate(document.spec)
    before = known_details(document, view) or SecretBindingDetails()
    told = await _tell(document, spec, view, ports, before, now)
    if document.deleting is not None:
        return _leave(document, before, told, placing.leaving(document, view, ()), now)
    placed = placing.decide(document, spec, view, now)
    found = [standing.judge(view.clusters[name], document) for name in placed.placed]
    details = SecretBindingDetails(
        placed=placed.placed,
        clusters=tuple(
            standing.summary(one)
            for one in sorted(found, key=lambda one: (one.done, one.cluster))[:MAX_LISTED]
        ),
        synced=sum(one.done for one in found),
        version=max((one.report.version for one in found if one.report), default=0),
        withdrawn_at=_withdrawn_at(document, spec, before, told, placed, view, now),
        shared=told.shared,
        members=told.members,
        bound_at=told.asked_at,
        retiring=placed.retiring,
        held_clusters=placed.held,
        shrunk_at=placed.shrunk_at,
    )
    conditions = [
        _condition(document, words.BOUND, _bound(document, spec, told, details), now),
        _condition(document, words.PLACED, placed.verdict, now),
        _condition(document, words.SYNCED, standing.synced(found, document), now),
    ]
    return Outcome(conditions, details.as_json(), again_in_s=_again_in_s(spec, told, ports))


async def _tell(
    document: Stored,
    spec: SecretBindingSpec,
    view: View,
    ports: Ports,
    before: SecretBindingDetails,
    now: datetime,
) -> Told:
    shared = spec.vault.shared
    if before.shared not in ("", shared):
        left = await groups.withdraw(before.shared, view, ports, now)
        if left is not None:
            return left
        before = SecretBindingDetails()
    if shared:
        asked = document.key in view.asked
        told = await groups.tell(shared, view, ports, before, now, asked=asked)
        return replace(told, shared=shared)
    return Told(True, "True", words.REASON_BOUND, "each cluster reads its own path")


def _again_in_s(spec: SecretBindingSpec, told: Told, ports: Ports) -> float | None:
    if not told.done:
        return ports.clock.jitter(groups.RETRY_S)
    return ports.clock.jitter(groups.ASK_AGAIN.total_seconds()) if spec.vault.shared else None


def _leave(
    document: Stored, before: SecretBindingDetails, told: Told, left: tuple[str, ...], now: datetime
) -> Outcome:
    """A deleted binding stays until Vault is told and every cluster that had it has answered."""
    details = before.model_copy(
        update={
            "placed": (),
            "clusters": (),
            "retiring": left,
            "held_clusters": (),
            "shrunk_at": None,
            "shared": told.shared,
            "members": told.members,
            "bound_at": told.asked_at,
        }
    )
    done = told.done or told.reason == words.REASON_GROUP_MISSING
    if left:
        names = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
        verdict: tuple[Status, str, str] = (
            "Unknown",
            words.REASON_DELETING,
            f"waits for the receipts of {names}",
        )
    elif not done:
        verdict = ("Unknown", words.REASON_DELETING, f"waits for Vault: {told.message}")
    else:
        verdict = ("Unknown", words.REASON_DELETED, "every cluster has answered")
    conditions = [
        _condition(document, type_, verdict, now) for type_ in (words.BOUND, words.PLACED, words.SYNCED)
    ]
    again_in_s = None if done else groups.RETRY_S
    return Outcome(conditions, details.as_json(), removable=done and not left, again_in_s=again_in_s)


def _withdrawn_at(
    document: Stored,
    spec: SecretBindingSpec,
    before: SecretBindingDetails,
    told: Told,
    placed: Placing,
    view: View,
    now: datetime,
) -> datetime | None:
    """Only of a shared secret: its own path a cluster reads by the static policy that its owner wrote."""
    if not (document.revoked and spec.vault.shared and told.done):
        return before.withdrawn_at if document.revoked else None
    if set(placed.placed).intersection(groups.entitled(spec.vault.shared, view)):
        return None
    return before.withdrawn_at or now


def _bound(
    document: Stored, spec: SecretBindingSpec, told: Told, details: SecretBindingDetails
) -> tuple[Status, str, str]:
    if not document.revoked:
        message = told.message or f"{len(details.placed)} clusters may read it"
        return told.status, told.reason, message
    if not told.done:
        return "False", words.REASON_REVOKED, f"revoked; Vault has not withdrawn it yet: {told.message}"
    if not spec.vault.shared:
        message = "revoked; each cluster may still read its own path: delete the value in Vault to end that"
    elif details.withdrawn_at is None:
        message = "revoked; another binding still lets some of its clusters read the same shared secret"
    else:
        message = f"revoked; withdrawn in Vault at {details.withdrawn_at.isoformat(timespec='milliseconds')}"
    return "False", words.REASON_REVOKED, message


def _condition(document: Stored, type_: str, verdict: tuple[Status, str, str], now: datetime) -> Condition:
    return Condition(
        type=type_,
        status=verdict[0],
        reason=verdict[1],
        message=verdict[2],
        last_transition_at=now,
        observed_generation=document.generation,
    )


def affected(change: Change, view: View) -> Iterable[Key]:
    """The bindings that this change may say something about; those of one shared secret move together."""
    if change.aspect == "outbox":
        return
    for document in view.of_kind("SecretBinding"):
        match change.what, change.kind:
            case "document", "SecretBinding":
                hit = document.name == change.name or _shared(document) == _shared_of(change.name, view)
            case "document", "Cluster":
                hit = True
            case "state", _:
                hit = _reports(change, document, view)
            case "presence", _:
                hit = _touches(document, change.name, view)
            case _:
                hit = False
        if hit:
            yield document.key


def _shared(document: Stored) -> str:
    vault = document.spec.get("vault")
    return str(vault.get("shared") or "") if isinstance(vault, Mapping) else ""


def _shared_of(name: str, view: View) -> str | None:
    document = view.documents.get(("SecretBinding", name))
    return (_shared(document) or None) if document is not None else None


def _reports(change: Change, document: Stored, view: View) -> bool:
    if change.aspect == "facts":
        placement = document.spec.get("placement")
        return isinstance(placement, Mapping) and bool(placement.get("facts"))
    cluster = view.clusters.get(change.name)
    if change.aspect != words.ASPECT or cluster is None:
        return False
    return document.uid in reported_ids(cluster) or _touches(document, change.name, view)


def _touches(document: Stored, cluster: str, view: View) -> bool:
    details = known_details(document, view)
    return details is not None and (cluster in details.placed or cluster in details.retiring)


def explain(document: Stored, view: View, cluster: str) -> Mapping[str, Any]:
    """Why each cluster is in or out."""
    spec = SecretBindingSpec.model_validate(document.spec)
    known = known_details(document, view) or SecretBindingDetails()
    return explain_placement(
        document,
        spec.placement,
        view.clusters.values(),
        placed=known.placed,
        held=known.held_clusters,
        cluster=cluster,
    ).as_json()
