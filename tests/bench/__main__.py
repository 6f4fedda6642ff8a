"""`python -m tests.bench [NAME…]`: one local fleet, every figure on it, a table and `build/bench.json`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.logs import configure
from fleetbus.schemas.errors import FleetbusError
from tests.bench import (
    change,
    crowd,
    drift,
    footprint,
    renewal,
    revocation,
    shutting_out,
    signing,
    startup,
    thousand,
)
from tests.bench.figures import Figure, table, write
from tests.bench.stand import Stand, stand

FILE = Path(__file__).parents[2] / "build" / "bench.json"


@dataclass(frozen=True, slots=True)
class Work:
    """A group of figures by the name that the command line takes."""

    name: str
    title: str
    measure: Callable[[Stand], Awaitable[list[Figure]]]


# In this order: the idle agent is measured before there is any bundle.
WORKS = (
    Work("idle", "an agent with nothing to do", footprint.measure_idle),
    Work("startup", "the command and its completion", startup.measure),
    Work("change", "one object changes", change.measure),
    Work("thousand", "1,000 objects in one bundle", thousand.measure),
    Work("drift", "hand edits", drift.measure),
    Work("watched", "an agent that watches 1,000 objects", footprint.measure_watched),
    Work("revocation", "a secret is revoked", revocation.measure),
    Work("shutting-out", "a cluster is revoked", shutting_out.measure),
    Work("signing", "what signatures cost", signing.measure),
    Work("renewal", "an agent renews its credential", renewal.measure),
    Work("crowd", "many clusters enrol and connect", crowd.measure),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a figure could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [work.name for work in WORKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)}")
    parser.add_argument("--short", action="store_true", help="a tenth of the rounds, to see whether it works")
    parser.add_argument("--dir", type=Path, help="keep the fleet's files and logs there")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(names)):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    works = [work for work in WORKS if not given.names or work.name in given.names]
    configure(SystemClock(), level="warning", program="bench")
    with tempfile.TemporaryDirectory(prefix="fleetbus-bench-", ignore_cleanup_errors=True) as made:
        return asyncio.run(_bench(given.dir or Path(made), works, short=given.short))


async def _bench(dir: Path, works: Sequence[Work], *, short: bool) -> int:
    figures: list[Figure] = []
    failures: list[str] = []
    try:
        async with stand(dir, _say, short=short) as fleet:
            for work in works:
                figures += await _measured(work, fleet, failures)
    except* FleetbusError as errors:
        failures += _sentences(errors)
    print(table(figures))
    write(figures, FILE)
    for failure in failures:
        print(f"failed: {failure}")
    return 1 if failures else 0


async def _measured(work: Work, fleet: Stand, failures: list[str]) -> list[Figure]:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    _say(f"{work.name}: {work.title} (load average {os.getloadavg()[0]:.1f})")
    try:
        found = await work.measure(fleet)
    except Exception as error:  # The edge of one figure: the others go on, and the exit code tells.
        traceback.print_exc()
        failures += [f"{work.name}: {sentence}" for sentence in _sentences(error)]
        return []
    _say(f"{work.name}: {clock.monotonic_s() - began_s:.1f} s")
    return found


def _sentences(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [sentence for one in error.exceptions for sentence in _sentences(one)]
    if isinstance(error, FleetbusError):
        return [error.sentence()]
    return [f"{type(error).__name__}: {error}"]


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
