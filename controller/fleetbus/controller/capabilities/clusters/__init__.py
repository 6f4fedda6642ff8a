"""Clusters: who is in the fleet, whether it is heard, and how far it has what it was told."""

from fleetbus.controller.capabilities.clusters.reconcile import capability

CAPABILITY = capability()
