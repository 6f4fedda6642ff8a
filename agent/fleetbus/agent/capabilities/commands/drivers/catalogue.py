"""One line a driver; what drivers need in the cluster."""

from __future__ import annotations

from collections.abc import Callable

from fleetbus.agent.capabilities.commands.drivers import Driver, Tools, job, rehearsal
from fleetbus.agent.ports import Rule

DRIVERS: tuple[Callable[[Tools], Driver], ...] = (job.Job, rehearsal.Rehearsal)

NEEDS: tuple[Rule, ...] = (*job.NEEDS, *rehearsal.NEEDS)
