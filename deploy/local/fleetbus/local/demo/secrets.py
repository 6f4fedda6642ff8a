"""Steps about secrets: from OpenBao into the clusters that are bound, a new version, and away again."""

from __future__ import annotations

import secrets

from fleetbus.local.demo.scene import NAMESPACE, Scene
from fleetbus.schemas.capabilities import secrets as contract

_NAME = "database"
_VARIABLE = "$DATABASE_PASSWORD"
_BINDING = """\
apiVersion: fleetbus.dev/v1alpha1
kind: SecretBinding
metadata:
  name: {name}
spec:
  vault:
    shared: {name}
  placement:
    clusters: [{clusters}]
  target:
    namespace: {namespace}
    name: {name}
  refresh: 1s
"""


def bound(scene: Scene) -> tuple[str, ...]:
    """All clusters but the first; a fleet of one has it bound."""
    return scene.clusters[1:] or scene.clusters


async def appear(scene: Scene) -> None:
    """A secret that is written to OpenBao is in the clusters that it is bound to, and in no other."""
    value = await _write(scene)
    await scene.stage.run("fleetbus", "secret", "share", _NAME, "--fleet-dir", scene.fleet.folder)
    document = scene.folder / "documents" / "database.yaml"
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(_BINDING.format(name=_NAME, namespace=NAMESPACE, clusters=", ".join(bound(scene))))
    await scene.stage.run("fleetbus", "apply", "-f", "documents/database.yaml", "--wait")
    scene.expect(contract.EVENT_SYNCED, f"secretbinding/{_NAME}", bound(scene))
    await scene.stage.until(
        f"{', '.join(bound(scene))} {'has' if len(bound(scene)) == 1 else 'have'} it, no other cluster has",
        lambda: _everywhere(scene, value),
    )


async def rotate(scene: Scene) -> None:
    """A new version follows by itself."""
    value = await _write(scene)
    scene.expect(contract.EVENT_ROTATED, f"secretbinding/{_NAME}", bound(scene))
    await scene.stage.until("the bound clusters have the new version", lambda: _everywhere(scene, value))
    await scene.stage.run("fleetbus", "get", "secretbindings")


async def revoke(scene: Scene) -> None:
    """A revocation takes it away, and each cluster signs a receipt."""
    await scene.stage.run(
        "fleetbus", "secret", "revoke", _NAME, "--yes", "--reason", "the demo is at this point"
    )
    scene.expect(contract.EVENT_REVOKED, f"secretbinding/{_NAME}", bound(scene))
    await scene.stage.until("the Secret is gone from every cluster", lambda: _everywhere(scene, None))


async def _write(scene: Scene) -> str:
    """A new value, which no log and no terminal sees."""
    value = secrets.token_urlsafe(18)
    command = ("bao", "kv", "put", f"secret/shared/{_NAME}", "username=shop")
    shown = (*command, f"password={_VARIABLE}")
    await scene.stage.run(*command, f"password={value}", shows=0, shown=shown)
    return value


async def _everywhere(scene: Scene, value: str | None) -> tuple[bool, str]:
    """Whether exactly the bound clusters have this value; None: nobody has any."""
    right, seen = True, []
    for cluster in scene.clusters:
        wanted = value if cluster in bound(scene) else None
        found = await scene.secret(cluster, _NAME, "password")
        right = right and found == wanted
        seen.append(
            f"{cluster} {'has none' if found is None else 'has it' if found == value else 'has another'}"
        )
    return right, ", ".join(seen)
