"""The same 1,000 objects without Fleetbus: kubectl, and a bare client that knows what to send."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetbus.local.shells import shell_environment
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.schemas.errors import ServerFailed
from tests.bench.stand import Stand
from tests.bench.watching import CONFIG_MAP

IN_FLIGHT = 16

_TIMEOUT_S = 300.0


async def bare_s(kube: KubeClient, namespace: str, objects: Sequence[Mapping[str, Any]]) -> float:
    """Server-side apply of every object, IN_FLIGHT at once: from the first request to the last answer."""
    clock = SystemClock()
    bodies = [dict(one) | {"metadata": dict(one["metadata"]) | {"namespace": namespace}} for one in objects]
    left = iter(bodies)

    async def work() -> None:
        for body in left:
            name = body["metadata"]["name"]
            await kube.apply(CONFIG_MAP, namespace, name, body, field_manager="bare", force=True)

    began_s = clock.monotonic_s()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())
    return clock.monotonic_s() - began_s


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
