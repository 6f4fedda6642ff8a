"""The typed client of the controller's API and of the events: the SDK for operators and subscribers.

    async with connect(load_context()) as fleet:
        async for event in fleet.events(type="bundle.*", since=last_sequence):
            ...

What may enter: what a program outside of the fleet needs to speak to it. Few dependencies: schemas and runtime.
"""

from fleetbus.client.context import (
    Context,
    Contexts,
    config_file,
    load_context,
    load_contexts,
    remove_context,
    save_context,
    use_context,
)
from fleetbus.client.events import Event
from fleetbus.client.fleet import Fleet, connect

__all__ = [
    "Context",
    "Contexts",
    "Event",
    "Fleet",
    "config_file",
    "connect",
    "load_context",
    "load_contexts",
    "remove_context",
    "save_context",
    "use_context",
]
