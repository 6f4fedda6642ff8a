"""Nothing blocks the loop: files, locks, sockets and sleeps of the programs' own code, seen by blockbuster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster

from tests.simulation.loop import VirtualLoop

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
    # A command's own files: it does nothing else at that time.
    "client/context.py": ("load_context", "save_context", "load_contexts", "use_context", "seed"),
}
"""By file, the functions that may. `current` reads a projected token, which lies in memory (tmpfs)."""


def _unless_simulated(may: Callable[..., bool]) -> Callable[..., bool]:
    """Where time is a number nobody waits, and what would run in a thread runs at once."""
    return lambda *given, **named: isinstance(asyncio.get_running_loop(), VirtualLoop) or may(*given, **named)


@contextmanager
def blocking_is_an_error() -> Iterator[None]:
    """Within it BlockingError is raised by whatever of PROGRAMS blocks while a loop runs, but in MAY_BLOCK."""
    watched = BlockBuster(list(PROGRAMS))
    for function in watched.functions.values():
        function.can_block_predicate = _unless_simulated(function.can_block_predicate)
        for file, names in MAY_BLOCK.items():
            function.can_block_in(file, set(names))
    watched.activate()
    try:
        yield
    finally:
        watched.deactivate()
