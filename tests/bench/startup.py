"""How long a person waits for the command itself: its help, and a TAB."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import ServerFailed
from tests.bench.figures import Figure, figure, median
from tests.bench.stand import Stand

ROUNDS = 15


async def measure(stand: Stand) -> list[Figure]:
    """Median of fifteen processes each, taken in turns; the environment is that of the running fleet."""
    command = str(Path(sys.executable).with_name("fleetbus"))
    told = {
        "bare": [sys.executable, "-c", "pass"],
        "help": [command, "--help"],
        "words": [command, "__complete", "get", "bu"],
        "names": [command, "__complete", "describe", "cluster/"],
    }
    environment = stand.fleet.variables()
    took: dict[str, list[float]] = {name: [] for name in told}
    for _ in range(ROUNDS):
        for name, argv in told.items():
            took[name].append(await _once(argv, environment))
    bare_ms = median(took["bare"])
    return [
        figure("python -c pass", bare_ms, "ms"),
        figure("fleetbus --help", median(took["help"]), "ms", "python", bare_ms, aim="< 150"),
        figure("TAB: a command's word", median(took["words"]), "ms", "python", bare_ms, aim="< 50"),
        figure("TAB: a cluster's name", median(took["names"]), "ms", "python", bare_ms, aim="< 50"),
    ]


async def _once(argv: list[str], environment: dict[str, str]) -> float:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    code = await child.wait()
    took_ms = (clock.monotonic_s() - began_s) * 1000
    if code:
        raise ServerFailed(f"`{' '.join(argv[:3])}` ended with {code}")
    return took_ms
