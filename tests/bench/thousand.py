"""1,000 ConfigMaps in one bundle: first apply and passes that change nothing, beside kubectl and a bare client."""

from __future__ import annotations

from datetime import datetime

from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.states import State
from tests.bench.documents import bundle, manifests, source, thousand
from tests.bench.figures import Figure, figure
from tests.bench.landing import NAME, NAMESPACE, Landing, applied_at, applies, landed
from tests.bench.repository import commit as commit_to
from tests.bench.rivals import Spent, bare, kubectl_s
from tests.bench.stand import Stand, id_of, is_at
from tests.bench.watching import reports, within

_TIMEOUT_S = 60.0


async def measure(stand: Stand) -> list[Figure]:
    cluster = stand.clusters[0]
    first_bare = await _bare(stand, cluster, "bench-bare-0")
    landing = await landed(stand)
    by_kubectl = await _kubectl(stand, landing)
    second_bare = await _bare(stand, cluster, "bench-bare-1")
    bare_first_s = (first_bare[0].took_s + second_bare[0].took_s) / 2
    bare_again_s = (first_bare[1].took_s + second_bare[1].took_s) / 2
    bare_cpu_s = (first_bare[0].cpu_s + second_bare[0].cpu_s) / 2
    there_s = _seconds(landing.published_at, landing.all_there_at)
    flux, bare_client = "Flux's kustomize-controller", "bare client"
    figures = [
        figure("1,000 objects, bare client: first", bare_first_s, "s"),
        figure("1,000 objects, bare client: again", bare_again_s, "s"),
        figure("1,000 objects, kubectl: first", by_kubectl[0], "s", bare_client, bare_first_s),
        figure("1,000 objects, kubectl: again", by_kubectl[1], "s", bare_client, bare_again_s),
        figure(
            "1,000 objects, published → all there", there_s, "s", bare_client, bare_first_s, aim="< 1.3 ×"
        ),
        figure("1,000 objects, published → all there (Flux)", there_s, "s", flux, 5.8),
        figure(
            "1,000 objects, published → reported applied",
            _seconds(landing.published_at, landing.reported_at),
            *("s", bare_client, bare_first_s),
        ),
        figure("1,000 objects: CPU of the agent", landing.cpu_s, "s", bare_client, bare_cpu_s),
        figure("1,000 objects: objects sent", landing.sent, ""),
        figure(
            "1,000 objects, applied document → published",
            _seconds(landing.committed_at, landing.published_at),
            "s",
        ),
    ]
    return figures + await _passes(stand, landing, bare_again_s)


async def _bare(stand: Stand, cluster: str, namespace: str) -> tuple[Spent, Spent]:
    await stand.namespace(cluster, namespace)
    objects, kube = thousand(), stand.kubes[cluster]
    return await bare(kube, namespace, objects), await bare(kube, namespace, objects)


async def _kubectl(stand: Stand, landing: Landing) -> tuple[float, float]:
    namespace, folder = "bench-kubectl", landing.repository.folder
    await stand.namespace(landing.cluster, namespace)
    first_s = await kubectl_s(stand, landing.cluster, namespace, folder)
    return first_s, await kubectl_s(stand, landing.cluster, namespace, folder)


async def _passes(stand: Stand, landing: Landing, bare_again_s: float) -> list[Figure]:
    """Three ways to have nothing to do, with the objects that were sent for it."""
    commit_s, commit_sent = await _same_objects(stand, landing)
    told_s, told_sent = await _told_again(stand, landing)
    restart_s, restart_sent = await _restarted(stand, landing)
    bare_client = "bare client"
    return [
        figure(
            "no-op pass: head → reported", told_s, "s", bare_client, bare_again_s, aim="< 0.2 s, Flux 3.0 s"
        ),
        figure("no-op pass: objects sent", told_sent, ""),
        figure("no-op commit → status at that revision", commit_s, "s", bare_client, bare_again_s),
        figure("no-op commit: objects sent", commit_sent, ""),
        figure("agent restarted → reported", restart_s, "s", bare_client, bare_again_s),
        figure("agent restarted: objects sent", restart_sent, ""),
    ]


async def _same_objects(stand: Stand, landing: Landing) -> tuple[float, float]:
    sent = await applies(stand, landing.cluster)
    files = manifests(thousand(), comment="nothing of an object")
    commit = await commit_to(landing.repository, files, "a comment")
    began_at = SystemClock().now()
    await stand.operator.sync("Source", source(NAME, landing.repository.folder)["metadata"]["name"])
    ended_at = await stand.row("Bundle", NAME, lambda document: is_at(document, commit))
    return _seconds(began_at, ended_at), await applies(stand, landing.cluster) - sent


async def _told_again(stand: Stand, landing: Landing) -> tuple[float, float]:
    """The bundle's document changes in a way that says nothing about its objects."""
    cluster = landing.cluster
    sent = await applies(stand, cluster)
    async with reports(stand.bus, id_of(cluster), stand.keys[cluster]) as told:
        reported = told.expect(lambda state: applied_at(state, NAME, 2))
        await stand.operator.apply([bundle(NAME, [cluster], NAMESPACE, adopt="Always")], reason="bench")
        reported_at = await within(reported, _TIMEOUT_S, "the report of a pass that changes nothing")
    head = await stand.head(cluster)
    return _seconds(head.stored_at, reported_at), await applies(stand, cluster) - sent


async def _restarted(stand: Stand, landing: Landing) -> tuple[float, float]:
    """From the start of the process until it has reported the bundle, in a session of its own."""
    cluster = landing.cluster
    sent = await applies(stand, cluster)
    agent = stand.fleet.agents[cluster]
    await agent.stop()
    async with reports(stand.bus, id_of(cluster), stand.keys[cluster]) as told:
        began_at = SystemClock().now()

        def is_new(state: State) -> bool:
            return state.at >= began_at and applied_at(state, NAME, 2)

        reported = told.expect(is_new)
        await agent.start()
        reported_at = await within(reported, _TIMEOUT_S, "the report after a restart")
    # What a pass that comes late would send counts, too.
    await SystemClock().sleep(2.0)
    return _seconds(began_at, reported_at), await applies(stand, cluster) - sent


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
