"""The same 1,000 objects without Fleetbus: kubectl, and a bare client that knows what to send."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetbus.local.shells import shell_environment
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.schemas.errors import ServerFailed
from tests.bench.proc import cpu_s
from tests.bench.stand import Stand
from tests.bench.watching import CONFIG_MAP

IN_FLIGHT = 16

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Spent:
    """From the first request to the last answer, and what the client itself has computed."""

    took_s: float
    cpu_s: float


async def bare(kube: KubeClient, namespace: str, objects: Sequence[Mapping[str, Any]]) -> Spent:
    """Server-side apply of every object, IN_FLIGHT at once."""
    clock, pid = SystemClock(), os.getpid()
    bodies = [dict(one) | {"metadata": dict(one["metadata"]) | {"namespace": namespace}} for one in objects]
    left = iter(bodies)

    async def work() -> None:
        for body in left:
            name = body["metadata"]["name"]
            await kube.apply(CONFIG_MAP, namespace, name, body, field_manager="bare", force=True)

    began_s, used_s = clock.monotonic_s(), cpu_s(pid)
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())
    return Spent(clock.monotonic_s() - began_s, cpu_s(pid) - used_s)


async def kubectl_s(stand: Stand, cluster: str, namespace: str, folder: Path) -> float:
    """`kubectl apply --server-side` of a folder: from the start of the process to its end."""
    clock = SystemClock()
    began_s = clock.monotonic_s()
    child = await asyncio.create_subprocess_exec(
        *("kubectl", "--context", cluster, "--namespace", namespace),
        *("apply", "--server-side", "--filename", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=shell_environment(stand.fleet.variables()),
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise ServerFailed(
            f"kubectl ended with {child.returncode}: {complaint.decode(errors='replace')[:300]}"
        )
    return clock.monotonic_s() - began_s
