"""The health of a bundle's objects, counted. Pure but for the watches' memory that it reads."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.health import is_watched_whole
from fleetbus.agent.capabilities.bundles.judge import Findings
from fleetbus.agent.capabilities.bundles.objects import DesiredObject, ObjectKey
from fleetbus.agent.capabilities.bundles.ownership import Membership
from fleetbus.agent.capabilities.bundles.refusals import object_state
from fleetbus.schemas.capabilities.bundles import (
    REASON_WORKLOAD_FAILING,
    REASON_WORKLOAD_PROGRESSING,
    ObjectState,
)


def find_health(
    objects: Mapping[ObjectKey, DesiredObject],
    membership: Membership,
    watches: Watches,
    refused: tuple[ObjectState, ...],
) -> Findings:
    """Counts and the objects that fail or are at work; what is refused or not applied is not ready."""
    bad = {state.object for state in refused}
    ready = 0
    failing: list[ObjectState] = []
    progressing: list[ObjectState] = []
    unseen: set[str] = set()
    whole = {kind: is_watched_whole(kind) for kind in membership.kinds()}
    for key, desired in objects.items():
        recorded = membership.objects.get(key)
        if recorded is None or not recorded.confirmed or (bad and key.shown() in bad):
            continue
        live = watches.live(key)
        health = live.health if live else None
        if live is not None and live.deleting:
            waits = f"is being deleted, held by {live.finalizers}" if live.finalizers else "is being deleted"
            progressing.append(object_state(key, REASON_WORKLOAD_PROGRESSING, waits))
        elif health is None and whole.get(key.group_kind):
            unseen.add(key.kind)
        elif health is None or health.current:
            ready += recorded.digest == desired.digest
        elif health.state == "Failed":
            failing.append(object_state(key, REASON_WORKLOAD_FAILING, health.message))
        else:
            progressing.append(object_state(key, REASON_WORKLOAD_PROGRESSING, health.message))
    return Findings(
        objects=len(objects),
        ready=ready,
        refused=refused,
        failing=tuple(failing),
        progressing=tuple(progressing),
        unseen=", ".join(sorted(unseen)),
    )
