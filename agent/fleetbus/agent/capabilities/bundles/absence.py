"""Before a member is forgotten: a watch may lag, so what it does not show is looked for once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleetbus.agent.capabilities.bundles.drift import Watches
from fleetbus.agent.capabilities.bundles.live import live_of
from fleetbus.agent.capabilities.bundles.objects import GroupKind, ObjectKey
from fleetbus.agent.capabilities.bundles.observe import read_existing
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.errors import FleetbusError


async def surely_gone(
    kube: Kube,
    watches: Watches,
    by_group: Mapping[GroupKind, Resource],
    apply_set: str,
    absent: Sequence[ObjectKey],
) -> list[ObjectKey]:
    """Those of `absent` that do not exist, or not as ours. The others are made known to the watches' memory.

    A forgotten member is never pruned, so an answer that got lost must not make an orphan.
    """
    asked = {
        key: by_group[key.group_kind]
        for key in absent
        if watches.live(key) is None and key.group_kind in by_group
    }
    found = await read_existing(kube, asked) if asked else {}
    gone: list[ObjectKey] = []
    for key in absent:
        exists = found.get(key)
        if exists is None:
            gone.append(key)
        elif not isinstance(exists, FleetbusError):
            resource = asked[key]
            live = live_of(
                {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": exists}, whole=False
            )
            if live.part_of == apply_set and live.hash:
                watches.put(key, live)
            else:
                gone.append(key)
    return gone
