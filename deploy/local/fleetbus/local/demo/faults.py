"""The step about faults: the controller and an agent are killed in the middle of a change, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import re
import signal

from fleetbus.local.demo import commands as demo_commands
from fleetbus.local.demo.scene import Scene
from fleetbus.local.processes import Process
from fleetbus.schemas.capabilities import commands

_GREETING = "Welcome after all"


async def killed(scene: Scene) -> None:
    """A commit and a command are on their way when both are killed with -9; something else starts them again."""
    cluster = scene.first
    before = re.findall(r"greeting: .*", scene.repository.read("base/settings.yaml"))
    scene.repository.replace("base/settings.yaml", before[0], f"greeting: {_GREETING}")
    commit = await scene.repository.commit("a greeting that has to get through")
    scene.stage.say(f"committed {commit[:7]}: a greeting that has to get through")
    said = await scene.stage.run(
        *("fleetbus", "command", "run", "--cluster", cluster, "--driver", "job"),
        *("--arg", f"image={demo_commands.IMAGE}"),
    )
    identifier = demo_commands.command_id(said.out)
    syncing = asyncio.create_task(scene.stage.ask("fleetbus", "sync", "source/shop"))
    try:
        # Somebody has it, the others do not yet, and the controller still follows.
        await scene.stage.until(
            "the greeting has reached the first cluster", lambda: _begun(scene), every_s=0.002
        )
        _kill(scene, scene.fleet.agents[cluster], f"the agent of {cluster}")
        _kill(scene, scene.fleet.controller, "the controller")
        await syncing
    finally:
        syncing.cancel()
    await scene.stage.until(
        "both are running again", lambda: _alive(scene.fleet.controller, scene.fleet.agents[cluster])
    )
    await scene.stage.run("fleetbus", "sync", "source/shop", shows=0)
    await scene.stage.until(
        f"the greeting is `{_GREETING}` in {len(scene.clusters)} clusters",
        lambda: scene.all_settings("greeting", _GREETING),
        timeout_s=120,
        log=scene.fleet.controller.log,
    )
    await scene.stage.until(
        "the command has succeeded, and its Job was made once",
        lambda: _ran_once(scene, cluster, identifier),
        timeout_s=120,
        log=scene.fleet.agents[cluster].log,
    )
    scene.expect(commands.EVENT_SUCCEEDED, f"command/{identifier}", [cluster])
    references = [f"cluster/{name}" for name in scene.clusters] + [f"bundle/{name}" for name in scene.bundles]
    await scene.stage.run("fleetbus", "wait", *references, "--timeout", "2m", shows=0)
    scene.stage.done("every cluster and every bundle is Ready")


def _kill(scene: Scene, process: Process, name: str) -> None:
    scene.stage.say(f"kill -9 {process.pid}  ({name})")
    os.kill(process.pid, signal.SIGKILL)


async def _begun(scene: Scene) -> tuple[bool, str]:
    found = [await scene.setting(cluster, "greeting") for cluster in scene.clusters]
    return _GREETING in found, f"it is `{found[0]}` everywhere"


async def _alive(*processes: Process) -> tuple[bool, str]:
    gone = [process.name for process in processes if not process.alive]
    return not gone, f"{', '.join(gone)} is not running"


async def _ran_once(scene: Scene, cluster: str, identifier: str) -> tuple[bool, str]:
    found = await scene.fleet.clusters[cluster].admin.get(
        demo_commands.JOBS, labelSelector=f"{commands.ID_LABEL}={identifier}"
    )
    jobs = len(found["items"])
    phase = await demo_commands.phase(scene, identifier)
    return phase == commands.PHASE_SUCCEEDED and jobs == 1, f"{phase}, {jobs} Jobs"
