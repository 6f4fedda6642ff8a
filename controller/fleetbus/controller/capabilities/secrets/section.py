"""What one cluster is told about secrets: references, never values; and what it is to have no more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fleetbus.controller.capabilities.secrets.reports import known_details
from fleetbus.controller.ports import ClusterView, Section, View
from fleetbus.schemas.capabilities.secrets import (
    BOUND,
    CAPABILITY,
    REASON_REVOKED,
    SECTION_VERSION,
    SecretBindingDetails,
    SecretBindingSpec,
    SecretEntry,
    SecretsSection,
)
from fleetbus.schemas.conditions import find
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.durations import seconds_of
from fleetbus.schemas.subjects import ClusterId
from fleetbus.schemas.vault_policies import own_path, shared_path

LEAST_REFRESH_S = 1.0


def section(cluster: ClusterView, view: View, now: datetime) -> Section:
    """The bindings whose status places them here, sorted by name."""
    entries: list[SecretEntry] = []
    for document in view.of_kind("SecretBinding"):
        details = known_details(document, view)
        if details is not None and document.deleting is None and cluster.id.name in details.placed:
            entries.append(_entry(cluster.id, document, view))
    return Section(SECTION_VERSION, SecretsSection(secrets=tuple(entries)).as_json())


def retired(cluster: ClusterView, view: View, now: datetime) -> Sequence[Retired]:
    """The bindings that this cluster had and shall have no more, until its receipt is in."""
    found: list[Retired] = []
    for document in view.of_kind("SecretBinding"):
        details = known_details(document, view)
        if details is None or not _leaves(cluster.id.name, document, details):
            continue
        policy = document.deleting.policy if document.deleting else "Remove"
        found.append(
            Retired(capability=CAPABILITY, id=document.uid, name=document.name, policy=policy, count=1)
        )
    return tuple(found)


def _leaves(name: str, document: Stored, details: SecretBindingDetails) -> bool:
    return name in details.retiring or (document.deleting is not None and name in details.placed)


def _entry(cluster: ClusterId, document: Stored, view: View) -> SecretEntry:
    spec = SecretBindingSpec.model_validate(document.spec)
    return SecretEntry(
        id=document.uid,
        name=document.name,
        generation=document.generation,
        path=vault_path(spec, cluster),
        namespace=spec.target.namespace,
        secret=spec.target.name,
        type=spec.target.type,
        keys=spec.keys,
        refresh_s=seconds_of(spec.refresh, least=LEAST_REFRESH_S),
        revoked=document.revoked is not None and _asked_vault(document, view),
    )


def vault_path(spec: SecretBindingSpec, cluster: ClusterId) -> str:
    """Below the KV mount: the cluster's own place, or the shared one."""
    if spec.vault.shared:
        return shared_path(spec.vault.shared)
    return own_path(cluster, spec.vault.path)


def _asked_vault(document: Stored, view: View) -> bool:
    """Vault is told first, then the clusters: so that none reads the value again after it has removed it.

    A Vault that does not answer is asked once and holds nobody up. What was revoked once stays so meanwhile.
    """
    status = view.statuses.get(document.key)
    bound = find(status.conditions, BOUND) if status is not None else None
    if bound is None:
        return False
    return bound.reason == REASON_REVOKED or bound.observed_generation >= document.generation
