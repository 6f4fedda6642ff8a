"""One fleet of three clusters for all end-to-end tests, as `fleetbus local up` has it, and a subscriber to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.client import Fleet
from fleetbus.local.demo.repository import Repository
from fleetbus.local.demo.witness import Witness
from fleetbus.local.fleet import LocalFleet
from tests.e2e.operator_story import Operator


@pytest.fixture(scope="session")
async def fleet(log_dir: Path) -> AsyncIterator[LocalFleet]:
    """Its files, logs among them, stay until the next session: `build/test-logs/*/fleet`."""
    async with LocalFleet(log_dir / "fleet", progress=lambda line: print(line, flush=True)) as running:
        keeping = asyncio.create_task(running.keep(), name="keep")
        yield running
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.fixture(scope="session")
async def witness(fleet: LocalFleet) -> AsyncIterator[Witness]:
    """A subscriber with the subscriber's credential, from the first event to the last."""
    async with Witness(lambda: fleet.connect("events")) as listening:
        yield listening


@pytest.fixture(scope="session")
async def client(fleet: LocalFleet) -> AsyncIterator[Fleet]:
    """One connection of the operator's for all looks."""
    async with fleet.connect() as connected:
        yield connected


@pytest.fixture
def operator(fleet: LocalFleet, client: Fleet, witness: Witness, tmp_path: Path) -> Operator:
    return Operator(fleet, client, witness, tmp_path)


@pytest.fixture
async def repository(tmp_path: Path) -> Repository:
    """An empty repository of this test alone."""
    made = Repository(tmp_path / "repository")
    await made.create_empty()
    return made
