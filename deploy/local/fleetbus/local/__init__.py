"""Real servers on loopback: NATS, OpenBao and whole Kubernetes control planes, for the demo, for tests, to try things.

What may enter: one module a server, each an async context manager that is given a folder and a `Processes`
group, and what composes them. What may not: anything that a fleet in life would need.
"""
