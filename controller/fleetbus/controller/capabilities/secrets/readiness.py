"""How many of the Secrets that are bound to a cluster it reports as synced. Pure."""

from __future__ import annotations

from datetime import datetime

from fleetbus.controller.capabilities.secrets.reports import report_of
from fleetbus.controller.decisions.placed import placed_on
from fleetbus.controller.ports import ClusterView, Readiness, View


def readiness(cluster: ClusterView, view: View, now: datetime) -> Readiness:
    """Only counted: what is wrong with a binding is said by its own Ready, and nothing in the cluster waits for it."""
    reports = [report_of(cluster, told.uid) for _, told in placed_on(cluster, view, "SecretBinding")]
    ready = sum(report is not None and report.condition.status == "True" for report in reports)
    return Readiness(len(reports), ready)
