"""What is there: the Secret without its values, its namespace, and the number of Vault's newest version."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fleetbus.agent.capabilities.secrets import troubles
from fleetbus.agent.capabilities.secrets.plan import Live, NamespaceSeen, Place, Record, Seen, Wanted
from fleetbus.agent.ports import Ports
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.capabilities.secrets import (
    BINDING_ANNOTATION,
    BINDING_LABEL,
    FIELD_MANAGER,
    VERSION_ANNOTATION,
    SecretEntry,
)
from fleetbus.schemas.errors import FleetbusError, NotFound

SECRET = Resource("", "v1", "secrets", "Secret", True)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", False)


async def observe(ports: Ports, want: Wanted, record: Record | None, marked: Collection[Place]) -> Seen:
    """One binding; `marked` are all places where a Secret says that it is this binding's.

    What fails is a value, too, so that the others go on.
    """
    place = want.place or (record.place if record else None)
    known = {*marked, record.place} if record and record.place else set(marked)
    try:
        live = await look(ports.kube, place) if place else None
        looks = [await look(ports.kube, other) for other in sorted(known - {place}, key=str)]
        earlier = tuple(one for one in looks if one is not None)
        namespace = await _namespace(ports.kube, place) if place and live is None else "There"
    except FleetbusError as error:
        return Seen(trouble=troubles.of_cluster(error, want.entry))
    if want.aim != "follow" or want.entry is None or namespace != "There":
        return Seen(live, earlier, namespace)
    return await _vault(ports, want.entry, Seen(live, earlier))


async def look(kube: Kube, place: Place) -> Live | None:
    try:
        found = await kube.get(SECRET, place.namespace, place.name, metadata_only=True)
    except NotFound:
        return None
    return live_of(found)


async def ours(kube: Kube) -> list[Live]:
    """Every Secret that carries a binding's label."""
    found = await kube.list(SECRET, label_selector=BINDING_LABEL, metadata_only=True)
    return [live_of(one) for one in found]


def live_of(found: dict[str, Any]) -> Live:
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    version = str(annotations.get(VERSION_ANNOTATION, ""))
    return Live(
        place=Place(str(metadata.get("namespace", "")), str(metadata.get("name", ""))),
        uid=str(metadata.get("uid", "")),
        resource_version=str(metadata.get("resourceVersion", "")),
        version=int(version) if version.isascii() and version.isdigit() else 0,
        binding_id=str(annotations.get(BINDING_ANNOTATION, "")),
        binding_name=str((metadata.get("labels") or {}).get(BINDING_LABEL, "")),
        managed=any(field.get("manager") == FIELD_MANAGER for field in metadata.get("managedFields") or ()),
        deleting=bool(metadata.get("deletionTimestamp")),
        finalizers=tuple(str(name) for name in metadata.get("finalizers") or ()),
    )


async def _namespace(kube: Kube, place: Place) -> NamespaceSeen:
    try:
        found = await kube.get(NAMESPACE, "", place.namespace, metadata_only=True)
    except NotFound:
        return "Missing"
    return "Terminating" if (found.get("metadata") or {}).get("deletionTimestamp") else "There"


async def _vault(ports: Ports, entry: SecretEntry, seen: Seen) -> Seen:
    if ports.vault is None:
        return Seen(seen.live, seen.earlier, trouble=troubles.NO_VAULT)
    try:
        version = await ports.vault.version(entry.path)
    except NotFound:
        version = 0
    except FleetbusError as error:
        trouble = troubles.of_vault(error, entry, ports.identity.cluster.name)
        return Seen(seen.live, seen.earlier, trouble=trouble)
    return Seen(seen.live, seen.earlier, vault_version=version)
