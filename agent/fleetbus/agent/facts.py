"""What the agent finds in its cluster: version, nodes, provider, region, API groups, issuer and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fleetbus.agent.ports import Rule
from fleetbus.agent.quantities import cores, quantity
from fleetbus.agent.standing import Standing
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, MessageMalformed, NotFound, SettingsInvalid
from fleetbus.schemas.events import Happened
from fleetbus.schemas.states import Capacity, Facts

FACTS = "facts"
OBSERVE_EVERY_S = 300.0
MAX_NODES_READ = 500
"""Above this so many nodes are read whole for provider and region, and the capacity stays unknown."""

NAMESPACE_KIND = Resource("", "v1", "namespaces", "Namespace", False)
NODE = Resource("", "v1", "nodes", "Node", False)
NEEDS = (Rule(("",), ("nodes", "namespaces"), ("get", "list", "watch")),)

_REGION = "topology.kubernetes.io/region"
_PROVIDER_LABEL = "fleetbus.dev/provider"


@cache
def agent_version() -> str:
    try:
        return version("fleetbus-agent")
    except PackageNotFoundError:
        return "0"


async def verify_cluster(kube: Kube, uid: str) -> None:
    """SettingsInvalid when this is not the cluster that was joined, such as a restored copy of it."""
    found = await kube.get(NAMESPACE_KIND, "", "kube-system", metadata_only=True)
    here = str((found.get("metadata") or {}).get("uid") or "")
    if here != uid:
        raise SettingsInvalid(
            f"this cluster's kube-system has the UID {here}, the agent was joined to {uid}",
            where=f"Secret {AGENT_NAMESPACE}/{AGENT_NAME}",
            remedy="this is a copy of another cluster: join it under a name of its own",
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """What was found last. A part that could not be read stays as it was known: absence says nothing."""

    kubernetes_version: str
    nodes: int = 0
    capacity: Capacity = field(default_factory=Capacity)
    provider: str = ""
    region: str = ""
    api_groups: tuple[str, ...] = ()
    issuer: str = ""
    keys: tuple[dict[str, Any], ...] = ()


def known_before(body: Mapping[str, Any]) -> Observed:
    """What the last report said, by this process or one before it."""
    try:
        told = Facts.from_json(dict(body))
    except MessageMalformed:
        return Observed("")
    return Observed(
        kubernetes_version=told.kubernetes_version,
        nodes=told.nodes,
        capacity=told.capacity,
        provider=told.provider,
        region=told.region,
        api_groups=told.api_groups,
        issuer=told.issuer,
        keys=told.service_account_keys,
    )


async def observe_facts(kube: Kube, before: Observed) -> Observed:
    """Raises KubeUnavailable; what RBAC or an older server does not give stays as it was known."""
    discovery = await _document(kube, "/.well-known/openid-configuration")
    keys = await _document(kube, "/openid/v1/jwks")
    groups = {resource.group for resource in await kube.resources() if resource.group}
    found = replace(before, kubernetes_version=await kube.version(), api_groups=tuple(sorted(groups)))
    if discovery:
        found = replace(found, issuer=str(discovery.get("issuer") or ""))
    if keys:
        told = tuple(key for key in keys.get("keys") or () if isinstance(key, dict))
        found = replace(found, keys=told)
    return await _with_nodes(kube, found)


def facts(observed: Observed, standing: Standing) -> Facts:
    """The body of aspect `facts`."""
    return Facts(
        kubernetes_version=observed.kubernetes_version,
        nodes=observed.nodes,
        capacity=observed.capacity,
        provider=observed.provider,
        region=observed.region,
        api_groups=observed.api_groups,
        issuer=observed.issuer,
        service_account_keys=observed.keys,
        agent_version=agent_version(),
        accepted=standing.accepted,
        accepted_set=standing.accepted_set,
        charter=standing.charter,
        refused=standing.refused,
        not_understood=standing.not_understood,
        failures=dict(standing.failures),
        protection=standing.protection,
    )


def no_transitions(aspect: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Happened]:
    """What a session or the facts show is made an event by the controller, which sees the cluster as a whole."""
    return ()


async def wait_verified(kube: Kube, uid: str, clock: Clock, log: Any) -> None:
    """`verify_cluster`, asked until the apiserver answers."""
    said = ""
    while True:
        try:
            await verify_cluster(kube, uid)
            return
        except SettingsInvalid:
            raise
        except FleetbusError as error:
            if described(error) != said:
                log.warning("cluster not readable", message=error)
                said = described(error)
        await clock.sleep(clock.jitter(1.0))


async def _document(kube: Kube, path: str) -> dict[str, Any]:
    try:
        return await kube.read_path(path)
    except (NotFound, ApplyRefused):
        return {}


async def _with_nodes(kube: Kube, before: Observed) -> Observed:
    try:
        count = len(await kube.list(NODE, metadata_only=True))
        if count > MAX_NODES_READ:
            page = await kube.read_path(f"/api/v1/nodes?limit={MAX_NODES_READ}")
            nodes, capacity = list(page.get("items") or ()), Capacity()
        else:
            nodes = await kube.list(NODE) if count else []
            capacity = _capacity(nodes)
    except ApplyRefused:
        return before
    return replace(
        before,
        nodes=max(count, len(nodes)),
        capacity=capacity,
        provider=_most(_provider(node) for node in nodes) or before.provider,
        region=_most(str(_labels(node).get(_REGION) or "") for node in nodes) or before.region,
    )


def _capacity(nodes: Sequence[Mapping[str, Any]]) -> Capacity:
    totals = {"cpu": Decimal(0), "memory": Decimal(0), "pods": Decimal(0)}
    for node in nodes:
        capacity = (node.get("status") or {}).get("capacity") or {}
        for name in totals:
            totals[name] += quantity(str(capacity.get(name, "")))
    return Capacity(cpu=cores(totals["cpu"]), memory_bytes=int(totals["memory"]), pods=int(totals["pods"]))


def _labels(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("metadata") or {}).get("labels") or {}


def _provider(node: Mapping[str, Any]) -> str:
    scheme, separator, _ = str((node.get("spec") or {}).get("providerID") or "").partition("://")
    return scheme if separator else str(_labels(node).get(_PROVIDER_LABEL) or "")


def _most(values: Any) -> str:
    counted = Counter(value for value in values if value)
    return min(counted, key=lambda value: (-counted[value], value)) if counted else ""
