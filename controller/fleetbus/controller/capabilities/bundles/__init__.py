"""Bundles: a source's folder rendered once for each distinct input, placed on clusters, followed until healthy."""

from fleetbus.controller.capabilities.bundles.reconcile import capability

CAPABILITY = capability()
