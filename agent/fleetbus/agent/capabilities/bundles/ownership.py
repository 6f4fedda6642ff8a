"""Which objects a bundle owns: the apply set of KEP-3659 and the record in its parent ConfigMap. Pure.

The record is written before an object that is not in it yet is applied, so that whatever was made by a
bundle is in its record, whenever the agent dies.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fleetbus.agent.capabilities.bundles.objects import GroupKind, ObjectKey, parse_key
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.canonical import canonical, compress, decompress, parse_json
from fleetbus.schemas.capabilities.bundles import BUNDLE_ANNOTATION
from fleetbus.schemas.errors import FleetbusError, ObjectInvalid
from fleetbus.schemas.guard import GUARD

HOME = AGENT_NAMESPACE
BUNDLE_ID_LABEL = "fleetbus.dev/bundle-id"
PARENT_PREFIX = "fleetbus-bundle-"

_ID_LABEL = "applyset.kubernetes.io/id"
_TOOLING = "applyset.kubernetes.io/tooling"
_GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"
_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
_TOOLING_VALUE = "fleetbus/v1"
_LABEL_VALUE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")
_PLAIN_UP_TO_BYTES = 32 * 1024
_UNPACKED_BYTES = 64 * 1024 * 1024


class Recorded(NamedTuple):
    """What is known of a member: digest of what was applied, hash of our fields after that, API version.

    `hash` is empty from the moment it is intended until it was applied.
    """

    digest: str
    hash: str
    version: str

    @property
    def confirmed(self) -> bool:
        return bool(self.hash)


@dataclass(frozen=True, slots=True)
class Membership:
    """A bundle's apply set. `version` is the parent's resourceVersion, empty when there is no parent.

    `settled`: how many members there were when everything was applied and pruned last.
    """

    id: str
    name: str
    objects: Mapping[ObjectKey, Recorded] = field(default_factory=dict)
    settled: int = 0
    version: str = ""

    @property
    def parent(self) -> str:
        return parent_name(self.id)

    @property
    def apply_set(self) -> str:
        return apply_set_id(self.parent)

    def kinds(self) -> dict[GroupKind, str]:
        """The kinds of all members, each with one API version that was used."""
        return {key.group_kind: recorded.version for key, recorded in self.objects.items()}


def is_agents_own(key: ObjectKey) -> bool:
    """Whether an object is where the agent's key, record, rights and guard lie: a repository must never reach them."""
    group, kind = key.group_kind
    if key.namespace == HOME:
        return True
    if (group, kind) == ("", "Namespace"):
        return key.name in (HOME, "kube-system")
    if (group, kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        return key.name.endswith(".agent.fleetbus.dev")
    if group in ("rbac.authorization.k8s.io", "admissionregistration.k8s.io"):
        return key.name.startswith((AGENT_NAME, GUARD))
    return False


def label_of(bundle_id: str) -> str:
    """A bundle's id as a label's value; ids that cannot be one are hashed."""
    if _LABEL_VALUE.fullmatch(bundle_id):
        return bundle_id
    return "x" + hashlib.sha256(bundle_id.encode()).hexdigest()[:32]


def parent_name(bundle_id: str) -> str:
    return f"{PARENT_PREFIX}{label_of(bundle_id)}"


def apply_set_id(parent: str) -> str:
    """The id that KEP-3659 gives to the apply set of a ConfigMap in our namespace."""
    digest = hashlib.sha256(f"{parent}.{HOME}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


def parent_object(membership: Membership) -> dict[str, Any]:
    """The ConfigMap that says what belongs to the bundle."""
    objects = {key.text(): list(recorded) for key, recorded in membership.objects.items()}
    record = canonical(
        {"id": membership.id, "name": membership.name, "settled": membership.settled, "objects": objects}
    )
    metadata: dict[str, Any] = {
        "name": membership.parent,
        "namespace": HOME,
        "labels": {_ID_LABEL: membership.apply_set, BUNDLE_ID_LABEL: label_of(membership.id)},
        "annotations": {
            _TOOLING: _TOOLING_VALUE,
            _GROUP_KINDS: ",".join(_named(sorted(membership.kinds()))),
            _NAMESPACES: ",".join(
                sorted({key.namespace for key in membership.objects if key.namespace} - {HOME})
            ),
            BUNDLE_ANNOTATION: membership.name,
        },
    }
    if membership.version:
        metadata["resourceVersion"] = membership.version
    content: dict[str, Any] = (
        {"data": {"record": record.decode()}}
        if len(record) <= _PLAIN_UP_TO_BYTES
        else {"binaryData": {"record": base64.b64encode(compress(record)).decode()}}
    )
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}


def _named(kinds: Iterable[GroupKind]) -> list[str]:
    return [f"{kind}.{group}" if group else kind for group, kind in kinds]


def parse_parent(parent: Mapping[str, Any]) -> Membership:
    """Inverse of `parent_object`. ObjectInvalid for a ConfigMap that holds no record."""
    metadata = parent.get("metadata") or {}
    where = f"ConfigMap {HOME}/{metadata.get('name')}"
    packed = (parent.get("binaryData") or {}).get("record")
    plain = (parent.get("data") or {}).get("record")
    try:
        content = decompress(base64.b64decode(packed), _UNPACKED_BYTES) if packed else str(plain).encode()
        record = parse_json(content)
        objects = {parse_key(key): Recorded(*map(str, value)) for key, value in record["objects"].items()}
        found = Membership(
            id=str(record["id"]),
            name=str(record["name"]),
            objects=objects,
            settled=int(record.get("settled") or 0),
            version=str(metadata.get("resourceVersion") or ""),
        )
    except (FleetbusError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ObjectInvalid("it holds no record of an apply set", where=where) from error
    if found.parent != metadata.get("name"):
        raise ObjectInvalid("its record is that of another bundle", where=where)
    return found
