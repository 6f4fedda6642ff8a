"""Commands: orders to this cluster, each once in effect, in order, with a journal in the cluster.

What may enter: what an agent does about its signed list of commands; drivers are modules of `drivers/`.
Decided here: one runs at a time; a deadline is for starting; a halt of everything holds new starts, while
what runs is followed and can be cancelled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from fleetbus.agent.capabilities.commands.drivers import Tools
from fleetbus.agent.capabilities.commands.drivers.catalogue import DRIVERS, NEEDS
from fleetbus.agent.capabilities.commands.run import Commands
from fleetbus.agent.capabilities.commands.transitions import transitions
from fleetbus.agent.ports import Capability, Ports
from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.states import RESULT_ASPECT

EXIT_DIED = 70


def _end_process() -> NoReturn:
    os._exit(EXIT_DIED)


def start(ports: Ports, *, die: Callable[[], NoReturn] = _end_process) -> Commands:
    """`die` is how a rehearsal that is asked to die ends the process; a simulation gives its own."""
    tools = Tools(ports.kube, ports.clock, die)
    return Commands(ports, [make(tools) for make in DRIVERS])


CAPABILITY = Capability(
    name=schema.CAPABILITY,
    section_version=schema.SECTION_VERSION,
    aspects=(RESULT_ASPECT,),
    needs=NEEDS,
    start=start,
    transitions=transitions,
)
