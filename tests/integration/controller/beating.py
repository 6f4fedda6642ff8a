"""A process that is connected as a cluster's agent and beats: it can be killed and stopped as a real one.

`python -m tests.integration.controller.beating FILE`: settings as `beating` writes them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.states import Heartbeat
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer

_ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def beating(
    fleet: FleetServer, cluster: str, folder: Path, *, flood: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; it is gone when the block ends. `flood`: as fast as it can, and states as well."""
    file, settings = folder / f"{cluster}.json", fleet.settings(cluster)
    file.touch(mode=0o600)
    told = {"servers": settings.servers, "inbox_prefix": settings.inbox_prefix, "name": settings.name}
    file.write_text(json.dumps({**told, "credential": asdict(settings.credential), "ca_pem": fleet.ca_pem}))
    arguments = [str(file), *(["flood"] if flood else [])]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.controller.beating", *arguments, cwd=_ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def _flood(settings: BusSettings) -> None:
    clock, cluster = SystemClock(), ClusterId(subjects.MAIN, settings.name)
    async with NatsBus(settings, clock) as bus:
        while True:
            await bus.wait_connected()
            try:
                for _ in range(50):
                    await bus.publish(subjects.state(cluster, "facts"), b"x" * 100)
                    await bus.publish(subjects.heartbeat(cluster), b"{}")
            except BusUnavailable:
                pass
            await asyncio.sleep(0)


async def _beat(settings: BusSettings) -> None:
    clock, subject = SystemClock(), subjects.heartbeat(ClusterId(subjects.MAIN, settings.name))
    async with NatsBus(settings, clock) as bus:
        while True:
            await bus.wait_connected()
            heartbeat = Heartbeat(session=1, at=clock.now(), server=bus.server)
            try:
                await bus.publish(subject, heartbeat.to_bytes())
            except BusUnavailable:
                continue
            await clock.sleep(0.2)


def _settings(file: Path) -> BusSettings:
    told = json.loads(file.read_text())
    credential, trust = Credential(**told["credential"]), Trust(ca_pem=told["ca_pem"])
    return BusSettings(tuple(told["servers"]), credential, told["inbox_prefix"], told["name"], trust)


if __name__ == "__main__":
    program = _flood if "flood" in sys.argv else _beat
    asyncio.run(program(_settings(Path(sys.argv[1]))))
