"""The command `fleetbus`: a module a capability, imported only when its command is run.

What may enter: commands, what they print, and the ceremonies that make a fleet and join a cluster.
What may not: a client library (those are in `runtime`), anything that a program other than the command needs
(that is in `client`), an import of pydantic, nats or yaml at the top of a module that `--help` reads.
"""
