"""One line a capability. Importing a module registers nothing; this tuple does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fleetbus.controller.capabilities import bundles, clusters, secrets, sources
from fleetbus.controller.capabilities.bundles.reconcile import capability
from fleetbus.controller.capabilities.bundles.render import render_from_git
from fleetbus.controller.ports import Capability

CAPABILITIES: tuple[Capability, ...] = (
    clusters.CAPABILITY,
    sources.CAPABILITY,
    bundles.CAPABILITY,
    secrets.CAPABILITY,
)


def rendering_without_isolation() -> Sequence[Capability]:
    """The same, for a controller whose owner lets kustomize run where it cannot be kept from the network."""
    rendering = capability(partial(render_from_git, without_isolation=True))
    return [rendering if one is bundles.CAPABILITY else one for one in CAPABILITIES]
