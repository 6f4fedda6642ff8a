"""Steps about configuration: from a Git repository into the clusters, and back when somebody edits by hand."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from functools import partial

from fleetbus.local.demo.scene import NAMESPACE, Scene, is_production
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities import bundles, clusters, sources
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.errors import KubeUnavailable, TimeoutExpired, Transient

_POLICY = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/web"
_FEED = f"/apis/shop.example.com/v1/namespaces/{NAMESPACE}/feeds/prices"
_WATCHED_FOR_S = 20.0

_SOURCE = """\
apiVersion: fleetbus.dev/v1alpha1
kind: Source
metadata:
  name: shop
spec:
  git:
    url: {url}
    ref:
      branch: main
  interval: 10m
"""
_BUNDLE = """\
apiVersion: fleetbus.dev/v1alpha1
kind: Bundle
metadata:
  name: {name}
spec:
  source: shop
  path: {path}
  placement:
    selector:
      matchExpressions:
      - key: env
        operator: {operator}
        values: [prod]
"""


async def register(scene: Scene) -> None:
    """Every cluster is in the fleet, with what its agent found out about it."""
    await scene.stage.run("fleetbus", "get", "clusters", "-o", "wide")
    for cluster in scene.clusters:
        scene.expect(clusters.EVENT_REGISTERED, f"cluster/{cluster}", [cluster])
    await scene.stage.run("fleetbus", "status")


async def land(scene: Scene) -> None:
    """A source and bundles; each cluster gets the one that its labels match."""
    documents = scene.folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    (documents / "source.yaml").write_text(_SOURCE.format(url=scene.repository.url))
    kinds = {"shop": ("base", "NotIn"), "shop-prod": ("overlays/prod", "In")}
    for name in scene.bundles:
        path, operator = kinds[name]
        (documents / f"{name}.yaml").write_text(_BUNDLE.format(name=name, path=path, operator=operator))
    scene.stage.say("The owner of each cluster lets the agent keep the shop's own kind, Feed.")
    for cluster in scene.clusters:
        await scene.stage.run("kubectl", "--context", cluster, "apply", "-f", "repository/owner")
    await scene.stage.run("fleetbus", "apply", "-f", "documents", "--wait")
    await scene.stage.run("fleetbus", "get", "bundles")
    scene.expect(sources.EVENT_FETCHED, "source/shop")
    for cluster in scene.clusters:
        bundle = scene.bundle_of(cluster)
        currency = "USD" if is_production(cluster) else "EUR"
        scene.expect(bundles.EVENT_APPLIED, f"bundle/{bundle}", [cluster])

        async def landed(cluster: str = cluster, currency: str = currency) -> tuple[bool, str]:
            found = await scene.setting(cluster, "currency")
            return found == currency and await scene.read(cluster, _FEED) is not None, f"currency {found}"

        await scene.stage.until(f"{cluster} has {bundle}, currency {currency}, and the CRD's object", landed)


async def change(scene: Scene) -> None:
    """A commit reaches every cluster."""
    scene.repository.replace("base/settings.yaml", "greeting: Welcome", "greeting: Welcome back")
    commit = await scene.repository.commit("a friendlier greeting")
    scene.stage.say(f"committed {commit[:7]}: a friendlier greeting")
    scene.expect(sources.EVENT_FETCHED, "source/shop")
    await scene.stage.run("fleetbus", "sync", "source/shop", "--wait")
    await scene.stage.until(
        f"the greeting is `Welcome back` in {len(scene.clusters)} clusters",
        lambda: scene.all_settings("greeting", "Welcome back"),
        log=scene.fleet.controller.log,
    )


async def drift(scene: Scene) -> None:
    """Somebody edits an object by hand; it is put back."""
    cluster = scene.last
    before = await scene.setting(cluster, "log.level")
    patch = json.dumps({"data": {"log.level": "trace"}})
    scene.expect(bundles.EVENT_DRIFT_CORRECTED, f"bundle/{scene.bundle_of(cluster)}", [cluster])
    watching = asyncio.create_task(_edited_for(scene, cluster, "log.level", before))
    try:
        await scene.stage.run(
            *("kubectl", "--context", cluster, "--namespace", NAMESPACE),
            *("patch", "configmap", "settings", "--type", "merge", "--patch", patch),
        )
        lasted_s = await watching
    finally:
        watching.cancel()
    scene.stage.done(f"log.level was `trace` in {cluster} and is `{before}` again", lasted_s)


async def _edited_for(scene: Scene, cluster: str, key: str, before: str) -> float:
    """For how long the edit was there, as a watch of the apiserver tells it."""
    clock = SystemClock()
    edited_at: float | None = None
    watch = scene.fleet.clusters[cluster].admin.watch(
        f"/api/v1/namespaces/{NAMESPACE}/configmaps", fieldSelector="metadata.name=settings"
    )
    try:
        async with asyncio.timeout(_WATCHED_FOR_S), aclosing(watch) as events:
            async for event in events:
                value, now = event["object"].get("data", {}).get(key), clock.monotonic_s()
                if edited_at is not None and value == before:
                    return now - edited_at
                if edited_at is None and value != before:
                    edited_at = now
    except TimeoutError as cause:
        seen = "the edit was not seen" if edited_at is None else "it is still as it was edited"
        raise TimeoutExpired(
            f"expected: {key} is `{before}` again in {cluster}; seen after {_WATCHED_FOR_S:g} s: {seen}",
            remedy=f"read {scene.fleet.agents[cluster].log}",
        ) from cause
    raise KubeUnavailable("the watch ended", where=cluster)


async def prune(scene: Scene) -> None:
    """A file that leaves the repository leaves the clusters."""
    scene.repository.remove("base/network.yaml")
    scene.repository.replace("base/kustomization.yaml", "- network.yaml\n", "")
    commit = await scene.repository.commit("no network policy any more")
    scene.stage.say(f"committed {commit[:7]}: base/network.yaml is removed")
    await scene.stage.run("fleetbus", "sync", "source/shop", "--wait")
    for cluster in scene.clusters:
        scene.expect(bundles.EVENT_PRUNED, f"bundle/{scene.bundle_of(cluster)}", [cluster])
    await scene.stage.until("the NetworkPolicy is gone from all clusters", lambda: _without(scene, _POLICY))


async def _without(scene: Scene, path: str) -> tuple[bool, str]:
    try:
        left = [cluster for cluster in scene.clusters if await scene.read(cluster, path) is not None]
    except KubeUnavailable as error:
        return False, error.message
    return not left, f"it is still in {', '.join(left)}"


async def emptied(scene: Scene) -> None:
    """An emptied repository prunes nothing: it is held, and comes back when the commit is taken back."""
    greeting = await scene.setting(scene.first, "greeting")
    for folder in ("base", "overlays", "owner"):
        scene.repository.remove(folder)
    commit = await scene.repository.commit("oops")
    scene.stage.say(f"committed {commit[:7]}: everything is removed")
    try:
        await scene.stage.run("fleetbus", "sync", "source/shop", code=1)
        for bundle in scene.bundles:
            scene.expect(bundles.EVENT_HELD, f"bundle/{bundle}")
            await scene.stage.until(f"bundle/{bundle} is held and says why", partial(_held, scene, bundle))
        await scene.stage.run("fleetbus", "get", "bundles")
        await scene.stage.until(
            "every cluster still has the shop", lambda: scene.all_settings("greeting", greeting)
        )
    finally:
        commit = await scene.repository.revert()
    scene.stage.say(f"committed {commit[:7]}: the commit before is taken back")
    await scene.stage.run("fleetbus", "sync", "source/shop", "--wait")


async def _held(scene: Scene, bundle: str) -> tuple[bool, str]:
    try:
        found = await scene.client.list("Bundle", names=(bundle,))
    except Transient as error:
        return False, error.message
    conditions = found.rows[0].document.get("status", {}).get("conditions", []) if found.rows else []
    ready = [one for one in conditions if one["type"] == READY]
    seen = f"{ready[0]['status']}, {ready[0]['reason']}" if ready else "unknown"
    return bool(ready) and ready[0]["reason"] == bundles.REASON_PRUNE_HELD, f"Ready is {seen}"
