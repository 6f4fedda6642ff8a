"""Nothing blocks the loop: files, locks, sockets and sleeps of the programs' own code, seen by blockbuster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster

PROGRAMS = (
    "fleetbus.agent",
    "fleetbus.controller",
    "fleetbus.client",
    "fleetbus.runtime",
    "fleetbus.schemas",
)
MAY_BLOCK = {
    # Once, when a program starts, before anything runs that could wait for it.
    "runtime/kube_access.py": ("from_folder", "from_kubeconfig", "current"),
    "runtime/kube_transport.py": ("_rest_client",),
}
"""By file, the functions that may. `current` reads a projected token, which lies in memory (tmpfs)."""


@contextmanager
def blocking_is_an_error() -> Iterator[None]:
    """Within it BlockingError is raised by whatever of PROGRAMS blocks while a loop runs, but in MAY_BLOCK."""
    watched = BlockBuster(list(PROGRAMS))
    for function in watched.functions.values():
        for file, names in MAY_BLOCK.items():
            function.can_block_in(file, set(names))
    watched.activate()
    try:
        yield
    finally:
        watched.deactivate()
