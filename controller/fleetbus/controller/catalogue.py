"""One line a capability. Importing a module registers nothing; this tuple does."""

from __future__ import annotations

from fleetbus.controller.capabilities import bundles, clusters, secrets, sources
from fleetbus.controller.ports import Capability

CAPABILITIES: tuple[Capability, ...] = (
    clusters.CAPABILITY,
    sources.CAPABILITY,
    bundles.CAPABILITY,
    secrets.CAPABILITY,
)
