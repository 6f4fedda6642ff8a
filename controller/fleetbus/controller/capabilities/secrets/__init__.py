"""Secrets: which clusters may read what in Vault, and the receipts of those that may no more."""

from fleetbus.controller.capabilities.secrets.reconcile import capability

CAPABILITY = capability()
