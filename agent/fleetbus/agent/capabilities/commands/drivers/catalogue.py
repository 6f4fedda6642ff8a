"""One line a driver."""

from __future__ import annotations

from collections.abc import Callable

from fleetbus.agent.capabilities.commands.drivers import Driver, Tools
from fleetbus.agent.capabilities.commands.drivers.job import Job
from fleetbus.agent.capabilities.commands.drivers.rehearsal import Rehearsal

DRIVERS: tuple[Callable[[Tools], Driver], ...] = (Job, Rehearsal)
