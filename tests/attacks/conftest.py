"""One world for all attacks, and a bare one where the naive arrangement is shown to fall."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.local.processes import Processes
from tests.attacks.canary import Bystanders, bystanders
from tests.attacks.world import World, bare_world, living_world


@pytest.fixture(scope="module")
async def world(processes: Processes, server_dir: Path) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        # What is refused is told often enough for many attacks in a row.
        patch.setattr("fleetbus.controller.follow.TOLD_EVERY_S", 0.1)
        async with living_world(processes, server_dir, "attacked") as world:
            yield world


@pytest.fixture(scope="module")
async def others(world: World) -> AsyncIterator[Bystanders]:
    async with bystanders(world) as found:
        yield found


@pytest.fixture(scope="module")
async def naive(processes: Processes, server_dir: Path) -> AsyncIterator[World]:
    async with bare_world(processes, server_dir, "naive") as world:
        yield world
