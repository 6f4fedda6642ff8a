"""The objects that a bundle wants: their names, their order, and the bytes that are sent. Pure."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.capabilities.bundles import (
    ARGO_WAVE_ANNOTATION,
    BUNDLE_ANNOTATION,
    ORDER_ANNOTATION,
)
from fleetbus.schemas.errors import ObjectInvalid

PART_OF = "applyset.kubernetes.io/part-of"
CRD = ("apiextensions.k8s.io", "CustomResourceDefinition")
NAMESPACE = ("", "Namespace")

GroupKind = tuple[str, str]
Order = tuple[int, int, int]
"""Namespaces and CRDs (0) before all else (1); then the annotated order; then the rank of the kind."""

_SERVERS_OWN = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_RANKS: tuple[tuple[str, ...], ...] = (
    ("Namespace", "CustomResourceDefinition", "StorageClass", "PriorityClass"),
    ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    ("NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget", "PodSecurityPolicy"),
    ("ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim"),
    ("Service", "Endpoints", "EndpointSlice", "Ingress", "IngressClass"),
    (
        "Pod",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
    ),
    ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "APIService"),
)
_RANK = {kind: rank for rank, kinds in enumerate(_RANKS) for kind in kinds}
_UNLISTED = len(_RANKS)


class ObjectKey(NamedTuple):
    """Which object, whatever version of its API is used; `namespace` is empty for cluster-wide kinds."""

    group: str
    kind: str
    namespace: str
    name: str

    @property
    def group_kind(self) -> GroupKind:
        return (self.group, self.kind)

    def text(self) -> str:
        return f"{self.group}/{self.kind}/{self.namespace}/{self.name}"

    def shown(self) -> str:
        """As reports and messages name it: `apps/Deployment shop/web`."""
        kind = f"{self.group}/{self.kind}" if self.group else self.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


def parse_key(text: str) -> ObjectKey:
    """Inverse of `ObjectKey.text`; ObjectInvalid for anything else."""
    parts = text.split("/")
    if len(parts) != 4 or not parts[1] or not parts[3]:
        raise ObjectInvalid("not the key of an object")
    group, kind, namespace, name = parts
    return ObjectKey(sys.intern(group), sys.intern(kind), sys.intern(namespace), name)


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """One object of an artifact. `digest` changes with its content and with whose it is."""

    key: ObjectKey
    api_version: str
    digest: str
    order: Order
    raw: bytes
    defines: GroupKind | None = None
    """The kind that it brings, if it is a CustomResourceDefinition."""


def short_digest(*parts: bytes) -> str:
    """96 bits of sha256 in 16 characters: to tell versions of one object apart."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"\n".join(parts)).digest()[:12]).decode()


def parse_objects(
    content: bytes, apply_set: str, bundle: str, before: Mapping[ObjectKey, DesiredObject] | None = None
) -> dict[ObjectKey, DesiredObject]:
    """The objects of an artifact, by key. ObjectInvalid names the first that is no Kubernetes object.

    Those that are in `before`, which was parsed for the same bundle, with the same content are taken from there.
    """
    found = parse_json(content)
    objects = found.get("objects") if isinstance(found, dict) else None
    if not isinstance(objects, list):
        raise ObjectInvalid("an artifact without a list of objects")
    stamp = f"{apply_set}\n{bundle}".encode()
    known = before or {}
    parsed = (_parsed(value, stamp, place, known) for place, value in enumerate(objects))
    return {one.key: one for one in parsed}


def _parsed(value: Any, stamp: bytes, place: int, before: Mapping[ObjectKey, DesiredObject]) -> DesiredObject:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    api_version = value.get("apiVersion") if isinstance(value, dict) else None
    if not isinstance(metadata, dict) or not isinstance(api_version, str):
        raise ObjectInvalid(f"objects[{place}] is no Kubernetes object")
    kind, name, namespace = value.get("kind"), metadata.get("name"), metadata.get("namespace") or ""
    if not all(isinstance(part, str) for part in (kind, name, namespace)) or not kind or not name:
        raise ObjectInvalid(f"objects[{place}] has no kind or no name")
    group = api_version.rpartition("/")[0]
    key = ObjectKey(sys.intern(group), sys.intern(kind), sys.intern(namespace), name)
    for marks in (metadata.get("labels"), metadata.get("annotations")):
        if marks is not None and not isinstance(marks, dict):
            raise ObjectInvalid(f"objects[{place}] has labels or annotations that are no map")
    raw = canonical(value)
    known = before.get(key)
    if known is not None and known.raw == raw:
        return known
    return DesiredObject(
        key=key,
        api_version=sys.intern(api_version),
        digest=short_digest(raw, stamp),
        order=order_of(key.group_kind, metadata.get("annotations")),
        raw=raw,
        defines=_defines(value) if key.group_kind == CRD else None,
    )


def _defines(definition: Mapping[str, Any]) -> GroupKind | None:
    spec = definition.get("spec")
    names = spec.get("names") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(names, dict):
        return None
    return (str(spec.get("group")), str(names.get("kind")))


def order_of(group_kind: GroupKind, annotations: Any) -> Order:
    """Where an object stands in the order of its bundle; what is no whole number counts as 0."""
    first = 0 if group_kind in (CRD, NAMESPACE) else 1
    return (first, annotated_order(annotations), _RANK.get(group_kind[1], _UNLISTED))


def annotated_order(annotations: Any) -> int:
    if not isinstance(annotations, dict):
        return 0
    for name in (ORDER_ANNOTATION, ARGO_WAVE_ANNOTATION):
        text = str(annotations.get(name, "")).strip()
        if text.lstrip("+-").isdigit() and len(text) < 8:
            return int(text)
    return 0


def scoped(
    objects: Iterable[DesiredObject], cluster_wide: frozenset[tuple[str, str]]
) -> dict[ObjectKey, DesiredObject]:
    """By key, without the namespace of those whose (apiVersion, kind) is cluster-wide."""
    found: dict[ObjectKey, DesiredObject] = {}
    for one in objects:
        if one.key.namespace and (one.api_version, one.key.kind) in cluster_wide:
            one = replace(one, key=one.key._replace(namespace=""))
        found[one.key] = one
    return found


def body_of(desired: DesiredObject, apply_set: str, bundle: str) -> bytes:
    """What is sent: the object, marked as a member of its apply set."""
    value = parse_json(desired.raw)
    metadata = {key: inner for key, inner in value["metadata"].items() if key not in _SERVERS_OWN}
    metadata["labels"] = {**(metadata.get("labels") or {}), PART_OF: apply_set}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), BUNDLE_ANNOTATION: bundle}
    if not desired.key.namespace:
        metadata.pop("namespace", None)
    value["metadata"] = metadata
    value.pop("status", None)
    return canonical(value)
