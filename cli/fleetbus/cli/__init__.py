"""The command `fleetbus`: a module a capability."""
