"""Sources: Git repositories, read at a branch, a tag or a commit, into the cache that bundles read from."""

from fleetbus.controller.capabilities.sources.reconcile import capability

CAPABILITY = capability()
