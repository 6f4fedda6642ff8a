"""The process in the background that owns a local fleet: `python -m fleetbus.local.supervise --dir DIR`.

It writes a line to `progress.log` for each thing that it has started, `fleet.json` whenever a process changes,
and `ready` when the fleet is up. It ends on SIGTERM, and everything that it started ends with it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from fleetbus.local import record
from fleetbus.local.detached import supervising
from fleetbus.local.fleet import LocalFleet
from fleetbus.local.members import members
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.failures import known_leaf
from fleetbus.runtime.logs import configure
from fleetbus.schemas.errors import FleetbusError, ServerFailed

READY = "ready"
PROGRESS = "progress.log"
LOG = "supervisor.log"

_EVERY_S = 0.5


async def supervise(dir: Path, clusters: Sequence[str]) -> None:
    """Be the fleet of `dir` until SIGTERM or SIGINT. Raises what keeps it from starting."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    async with supervising(dir):
        for name in (READY, PROGRESS, record.FILE):
            (dir / name).unlink(missing_ok=True)
        living = asyncio.create_task(_live(dir, clusters), name="fleet")
        ending = asyncio.create_task(asked.wait(), name="end")
        try:
            await asyncio.wait({living, ending}, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
        finally:
            ending.cancel()
            living.cancel()
            await asyncio.gather(living, ending, return_exceptions=True)


async def _live(dir: Path, clusters: Sequence[str]) -> None:
    with (dir / PROGRESS).open("a", buffering=1) as told:
        async with LocalFleet(dir, clusters, progress=lambda line: print(line, file=told)) as fleet:
            await publish(fleet)


async def publish(fleet: LocalFleet) -> NoReturn:
    """Keep a fleet alive, and say in its folder what it is, for `status`, `logs` and `env`; until cancelled."""
    clock = SystemClock()
    known = fleet.record()
    record.write(fleet.dir, known)
    (fleet.dir / READY).touch()
    keeping = asyncio.create_task(fleet.keep(), name="keep")
    try:
        while not keeping.done():
            await clock.sleep(_EVERY_S)
            if (now := fleet.record()) != known:
                known = now
                record.write(fleet.dir, known)
        await keeping
        raise ServerFailed("nobody keeps the fleet alive any more")
    finally:
        keeping.cancel()
        (fleet.dir / READY).unlink(missing_ok=True)
        (fleet.dir / record.FILE).unlink(missing_ok=True)


@click.command()
@click.option("--dir", "dir_", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--clusters", required=True)
def main(dir_: Path, clusters: str) -> None:
    """Started by `fleetbus local up`."""
    configure(SystemClock(), program="local")
    try:
        asyncio.run(supervise(dir_, [one.name for one in members(clusters.split(","))]))
    except (FleetbusError, ExceptionGroup) as error:
        known = known_leaf(error)
        if known is None:
            raise
        print(known.sentence(), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
