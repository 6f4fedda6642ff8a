"""Where objects of a kind lie in the Kubernetes API, and in which form they are asked for. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import ApplyRefused

_METADATA = "application/json;as={};g=meta.k8s.io;v=v1"
METADATA_OBJECT = _METADATA.format("PartialObjectMetadata")
METADATA_LIST = _METADATA.format("PartialObjectMetadataList")


def collection_path(resource: Resource, namespace: str = "") -> str:
    """The path of all objects of a kind, in one namespace or (empty, or not a namespaced kind) everywhere."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if namespace and resource.namespaced:
        root += f"/namespaces/{_segment(namespace, resource)}"
    return f"{root}/{resource.plural}"


def create_path(resource: Resource, namespace: str) -> str:
    """The path that an object is posted to. Raises ApplyRefused without the namespace that its kind needs."""
    if resource.namespaced and not namespace:
        raise ApplyRefused(
            f"a {resource.kind} needs a namespace",
            where=resource.kind,
            remedy="name it in metadata.namespace",
            status=400,
        )
    return collection_path(resource, namespace)


def object_path(resource: Resource, namespace: str, name: str) -> str:
    """The path of one object. Raises ApplyRefused for a name that would lead to another path."""
    return f"{create_path(resource, namespace)}/{_segment(name, resource)}"


def where(resource: Resource, namespace: str, name: str) -> str:
    """How messages name an object: `ConfigMap shop/settings`."""
    if name:
        name = f"{namespace}/{name}" if resource.namespaced else name
    else:
        name = f"in {namespace}" if namespace and resource.namespaced else ""
    return f"{resource.kind} {name}".strip()


def is_secret(resource: Resource) -> bool:
    return resource.kind == "Secret" and not resource.group


def named_as(resource: Resource, found: dict[str, Any]) -> dict[str, Any]:
    """`found` with its kind's own names: items of lists have none, bare metadata calls itself otherwise."""
    found["apiVersion"], found["kind"] = resource.api_version, resource.kind
    return found


def _segment(text: str, resource: Resource) -> str:
    if not text or text in (".", "..") or "/" in text or "%" in text:
        raise ApplyRefused(f"`{text[:80]}` cannot be a name", where=resource.kind, status=400)
    return quote(text, safe="")
