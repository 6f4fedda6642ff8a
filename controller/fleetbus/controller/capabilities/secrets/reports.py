"""What clusters report about secret bindings, and what a binding's status says of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetbus.controller.decisions.memo import Memo
from fleetbus.controller.ports import ClusterView, View
from fleetbus.schemas.capabilities.secrets import ASPECT, SecretBindingDetails, SecretState
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.states import State

_reports: Memo[SecretState | None] = Memo(8192)
_details: Memo[SecretBindingDetails] = Memo(4096)


def report_of(cluster: ClusterView, binding_id: str) -> SecretState | None:
    """The cluster's report on one binding; what cannot be read counts as none."""
    state = cluster.states.get(ASPECT)
    return _reports.of(lambda: _find(state, binding_id), state, word=binding_id) if state else None


def reported_ids(cluster: ClusterView) -> frozenset[str]:
    return frozenset(str(entry.get("id")) for entry in _entries(cluster.states.get(ASPECT)))


def is_removed(cluster: ClusterView, binding_id: str) -> bool:
    """Whether the cluster's receipt is in."""
    report = report_of(cluster, binding_id)
    return report is not None and report.removed


def known_details(document: Stored, view: View) -> SecretBindingDetails | None:
    """The last status' details; None before the first."""
    status: Status | None = view.statuses.get(document.key)
    if status is None or status.uid != document.uid or not status.details:
        return None
    details = status.details
    return _details.of(lambda: SecretBindingDetails.from_json(details), status)


def _find(state: State, binding_id: str) -> SecretState | None:
    for entry in _entries(state):
        if entry.get("id") == binding_id:
            try:
                return SecretState.from_json(entry)
            except MessageMalformed:
                return None
    return None


def _entries(state: State | None) -> Iterator[Mapping[str, Any]]:
    entries = state.body.get("secrets") if state is not None else None
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict))
