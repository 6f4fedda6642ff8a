"""How ready what is placed on a cluster is there, as each capability says, folded into the cluster's own outcome.

The clusters' capability so knows no other, and a new capability counts for a cluster's Ready without an edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from fleetbus.controller.ports import Capability, ClusterView, Outcome, Readiness, View
from fleetbus.schemas.capabilities.clusters import REASON_DISCONNECTED, Contents
from fleetbus.schemas.conditions import Condition


def with_readiness(
    outcome: Outcome, cluster: ClusterView, view: View, capabilities: Sequence[Capability], now: datetime
) -> Outcome:
    """`outcome` of a cluster with a count, and where there is one a condition, of each capability. Pure."""
    found = {
        capability.name: said
        for capability in capabilities
        if capability.readiness is not None and (said := capability.readiness(cluster, view, now)) is not None
    }
    contents = {
        name: Contents(placed=said.placed, ready=said.ready).as_json() for name, said in found.items()
    }
    conditions = [
        _seen(cluster, name, said, said.condition)
        for name, said in found.items()
        if said.condition is not None
    ]
    return replace(
        outcome,
        conditions=[*outcome.conditions, *conditions],
        details={**outcome.details, "contents": contents},
    )


def _seen(cluster: ClusterView, name: str, said: Readiness, condition: Condition) -> Condition:
    """What a cluster that is away said last is not known to be so now: then it is Unknown."""
    update: dict[str, object] = {"observed_generation": cluster.document.generation}
    if condition.status != "True" and not cluster.heard:
        update |= {
            "status": "Unknown",
            "reason": REASON_DISCONNECTED,
            "message": f"{said.ready} of {said.placed} {name} are ready as it said last",
        }
    return condition.model_copy(update=update)
