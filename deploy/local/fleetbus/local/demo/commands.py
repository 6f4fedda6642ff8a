"""The step about commands: an upgrade for one cluster, with its progress and its result."""

from __future__ import annotations

from fleetbus.local.demo.scene import Scene
from fleetbus.schemas.agent_pod import AGENT_NAMESPACE
from fleetbus.schemas.capabilities import commands
from fleetbus.schemas.errors import Transient

IMAGE = "registry.example.com/cluster-upgrade:1.37"
JOBS = f"/apis/batch/v1/namespaces/{AGENT_NAMESPACE}/jobs"


async def upgrade(scene: Scene) -> None:
    """A Job runs in one cluster; its progress and result come back."""
    cluster = scene.last
    said = await scene.stage.run(
        *("fleetbus", "command", "run", "--cluster", cluster, "--driver", "job", "--wait"),
        *("--arg", f"image={IMAGE}", "--reason", "patch day"),
    )
    identifier = command_id(said.out + said.err)
    await scene.stage.run("fleetbus", "command", "list", "--cluster", cluster)
    for type_ in (commands.EVENT_ISSUED, commands.EVENT_STARTED, commands.EVENT_SUCCEEDED):
        scene.expect(type_, f"command/{identifier}", [cluster])


def command_id(text: str) -> str:
    """The id in what `fleetbus command run` said."""
    word = next((word for word in text.split() if word.startswith("command/")), "command/unknown")
    return word.removeprefix("command/").rstrip(":")


async def phase(scene: Scene, identifier: str) -> str:
    """Where a command is, as the controller says it."""
    try:
        rows = await scene.client.list_commands()
    except Transient as error:
        return error.message
    return next((row.phase for row in rows if row.id == identifier), "not listed")
