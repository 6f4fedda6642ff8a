"""What clusters report about bundles, read out of their states. Pure; what cannot be read counts as no report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetbus.controller.decisions.memo import Memo
from fleetbus.controller.ports import ClusterView
from fleetbus.schemas.capabilities.bundles import BundleState, aspect_of
from fleetbus.schemas.errors import MessageMalformed
from fleetbus.schemas.states import State

_reports: Memo[BundleState | None] = Memo(8192)


def report_of(cluster: ClusterView, bundle_id: str) -> BundleState | None:
    """The cluster's report on one bundle."""
    state = cluster.states.get(aspect_of(bundle_id))
    return _reports.of(lambda: _find(state, bundle_id), state, word=bundle_id) if state else None


def reported_ids(cluster: ClusterView, aspect: str) -> frozenset[str]:
    """Ids of the bundles that an aspect speaks of."""
    return frozenset(str(entry.get("id")) for entry in _entries(cluster.states.get(aspect)))


def is_removed(cluster: ClusterView, bundle_id: str) -> bool:
    """Whether the cluster's receipt is in: its retirement of the bundle is done."""
    report = report_of(cluster, bundle_id)
    return report is not None and report.removed


def object_count(report: BundleState | None) -> int | None:
    """How many objects the cluster has of a bundle, those that it holds back from pruning among them."""
    return None if report is None else report.objects + report.held_prunes


def _find(state: State, bundle_id: str) -> BundleState | None:
    entry = next((entry for entry in _entries(state) if entry.get("id") == bundle_id), None)
    return _read(entry) if entry else None


def _entries(state: State | None) -> Iterator[Mapping[str, Any]]:
    entries = state.body.get("bundles") if state is not None else None
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict))


def _read(entry: Mapping[str, Any]) -> BundleState | None:
    try:
        return BundleState.from_json(entry)
    except MessageMalformed:
        return None
