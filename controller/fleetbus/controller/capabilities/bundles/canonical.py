"""Manifests → canonical objects: checked, without what belongs to a server, sorted, each once.

Namespaces: the bundle's default goes into an object that names none, unless its kind is known to lie outside
namespaces: built-in ones by the list below, custom ones by a CustomResourceDefinition in the same bundle. Of a
custom kind that another bundle defines the scope is not known here: the agent, which asks its cluster's
discovery, leaves the namespace out where the kind has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleetbus.schemas.errors import ObjectInvalid

MAX_OBJECTS = 10_000
Identity = tuple[str, str, str, str]
"""(group, kind, namespace, name): the version is no part of what an object is."""

_API_VERSION = re.compile(r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?v[a-z0-9]{1,30}$")
_KIND = re.compile(r"^[A-Z][A-Za-z0-9]{0,62}$")
_NAME = re.compile(r"^[^/%\s\x00-\x1f\x7f]{1,253}$")
_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
_CLUSTER_SCOPED = {
    "": ("Namespace", "Node", "PersistentVolume"),
    "admissionregistration.k8s.io": (
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ),
    "apiextensions.k8s.io": ("CustomResourceDefinition",),
    "apiregistration.k8s.io": ("APIService",),
    "cert-manager.io": ("ClusterIssuer",),
    "certificates.k8s.io": ("CertificateSigningRequest", "ClusterTrustBundle"),
    "flowcontrol.apiserver.k8s.io": ("FlowSchema", "PriorityLevelConfiguration"),
    "gateway.networking.k8s.io": ("GatewayClass",),
    "networking.k8s.io": ("IPAddress", "IngressClass", "ServiceCIDR"),
    "node.k8s.io": ("RuntimeClass",),
    "rbac.authorization.k8s.io": ("ClusterRole", "ClusterRoleBinding"),
    "resource.k8s.io": ("DeviceClass", "DeviceTaintRule", "ResourceSlice"),
    "scheduling.k8s.io": ("PriorityClass",),
    "snapshot.storage.k8s.io": ("VolumeSnapshotClass", "VolumeSnapshotContent"),
    "storage.k8s.io": ("CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A mapping out of a source and where it stands: `file:line`."""

    value: Mapping[str, Any]
    where: str


def canonicalise(found: Iterable[Found], namespace: str = "") -> tuple[dict[str, Any], ...]:
    """The objects, sorted by group, kind, namespace, name.

    Raises ObjectInvalid, naming file and line, for what is no Kubernetes object, for an object that stands
    there twice, and for a Secret with values: artifacts are readable by every agent.
    """
    flat = [checked for one in found for checked in _flatten(one)]
    if len(flat) > MAX_OBJECTS:
        raise ObjectInvalid(f"{len(flat)} objects are more than {MAX_OBJECTS}", remedy="make several bundles")
    outside = _outside_namespaces(flat)
    placed: dict[Identity, tuple[dict[str, Any], str]] = {}
    for one in flat:
        made = _object(one, namespace, outside)
        identity = identity_of(made)
        if identity in placed:
            raise ObjectInvalid(
                f"{describe(identity)} stands in this bundle twice",
                where=one.where,
                remedy=f"the other is {placed[identity][1]}; remove one of them",
            )
        placed[identity] = (made, one.where)
    return tuple(placed[identity][0] for identity in sorted(placed))


def identity_of(value: Mapping[str, Any]) -> Identity:
    metadata = value["metadata"]
    return (group_of(value), value["kind"], metadata.get("namespace", ""), metadata["name"])


def group_of(value: Mapping[str, Any]) -> str:
    group, slash, _ = str(value["apiVersion"]).partition("/")
    return group if slash else ""


def describe(identity: Identity) -> str:
    """`Deployment.apps team/web`, for a sentence."""
    group, kind, namespace, name = identity
    return f"{kind}{'.' + group if group else ''} {namespace + '/' if namespace else ''}{name}"


def _flatten(found: Found) -> Iterator[Found]:
    """The object itself, or the items of a List; each with apiVersion, kind and a name."""
    kind, items = found.value.get("kind"), found.value.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for position, item in enumerate(items):
            where = f"{found.where} items[{position}]"
            if not isinstance(item, dict):
                raise ObjectInvalid("an item of a List must be an object", where=where)
            yield from _flatten(Found(item, where))
        return
    _check(found)
    yield found


def _check(found: Found) -> None:
    value, where = found.value, found.where
    version, kind = value.get("apiVersion"), value.get("kind")
    if version is None and kind is None:
        raise _invalid("no Kubernetes object: it has neither `apiVersion` nor `kind`", where)
    if not isinstance(version, str) or not _API_VERSION.fullmatch(version):
        raise _invalid("no Kubernetes object: `apiVersion` must be such as `v1` or `apps/v1`", where)
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise _invalid("no Kubernetes object: `kind` must be such as `ConfigMap`", where)
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        raise _invalid(f"the {kind} has no `metadata`", where)
    name = metadata.get("name")
    if name is None and metadata.get("generateName") is not None:
        raise ObjectInvalid(
            f"the {kind} has `metadata.generateName`: each apply would make another one",
            where=where,
            remedy="give it `metadata.name`",
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in {".", ".."}:
        raise _invalid(f'the {kind} has no valid `metadata.name` (text is quoted: `name: "7"`)', where)
    namespace = metadata.get("namespace")
    if namespace is not None and not (isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace)):
        raise _invalid(f"{kind} {name} has no valid `metadata.namespace`", where)
    for field in ("labels", "annotations"):
        _check_texts(metadata.get(field), f"{kind} {name}: `metadata.{field}`", where)
    if kind == "Secret" and version == "v1" and (value.get("data") or value.get("stringData")):
        raise ObjectInvalid(
            f"Secret {name} holds values: what is in a bundle can be read by every agent",
            where=where,
            remedy="keep them in Vault and bind them with a SecretBinding",
        )


def _check_texts(found: Any, what: str, where: str) -> None:
    if found is None:
        return
    if not isinstance(found, dict):
        raise _invalid(f"{what} must be a mapping", where)
    for key, text in found.items():
        if not isinstance(text, str):
            raise ObjectInvalid(
                f"{what}: the value of `{key[:80]}` is no text", where=where, remedy="quote it"
            )


def _object(found: Found, namespace: str, outside: frozenset[tuple[str, str]]) -> dict[str, Any]:
    value = {key: part for key, part in found.value.items() if key != "status"}
    metadata = {key: part for key, part in value["metadata"].items() if key not in _SERVER_METADATA}
    metadata = {
        key: part
        for key, part in metadata.items()
        if part or key not in ("labels", "annotations", "namespace")
    }
    if (group_of(value), value["kind"]) in outside:
        metadata.pop("namespace", None)
    elif namespace and "namespace" not in metadata:
        metadata["namespace"] = namespace
    return {**value, "metadata": metadata}


def _outside_namespaces(found: Iterable[Found]) -> frozenset[tuple[str, str]]:
    """(group, kind) of what is known to lie outside namespaces."""
    known = {(group, kind) for group, kinds in _CLUSTER_SCOPED.items() for kind in kinds}
    for one in found:
        if one.value["kind"] == "CustomResourceDefinition":
            spec = one.value.get("spec")
            names = spec.get("names") if isinstance(spec, dict) else None
            if isinstance(spec, dict) and isinstance(names, dict) and spec.get("scope") == "Cluster":
                known.add((str(spec.get("group")), str(names.get("kind"))))
    return frozenset(known)


def _invalid(message: str, where: str) -> ObjectInvalid:
    return ObjectInvalid(message, where=where)
