"""Why one object is not as it should be, in a reason and a sentence that says what to do. Pure."""

from __future__ import annotations

import re

from fleetbus.agent.capabilities.bundles.objects import ObjectKey
from fleetbus.agent.text import cut
from fleetbus.schemas.agent_pod import AGGREGATE_LABEL
from fleetbus.schemas.capabilities.bundles import (
    REASON_APPLY_CONFLICT,
    REASON_APPLY_REFUSED,
    REASON_CLUSTER_UNREACHABLE,
    REASON_CRD_WAITING,
    REASON_KIND_UNKNOWN,
    REASON_NAMESPACE_WAITING,
    REASON_PROGRESSING,
    ObjectState,
)
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeConflict, KubeUnavailable, NotFound

WAITING = frozenset(
    {REASON_CRD_WAITING, REASON_NAMESPACE_WAITING, REASON_CLUSTER_UNREACHABLE, REASON_PROGRESSING}
)
"""Reasons that go away by themselves."""

_FORBIDDEN = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')
_NAMESPACE_MISSING = re.compile(r'namespaces "([^"]+)" not found')


def object_state(key: ObjectKey, reason: str, message: str) -> ObjectState:
    return ObjectState(object=key.shown(), reason=reason, message=cut(message))


def refusal(key: ObjectKey, error: FleetbusError) -> ObjectState:
    """What an error of the apiserver's means for an object."""
    text = error.message
    if isinstance(error, KubeUnavailable):
        return object_state(key, REASON_CLUSTER_UNREACHABLE, text)
    if isinstance(error, KubeConflict):
        return object_state(key, REASON_APPLY_CONFLICT, text)
    if isinstance(error, NotFound):
        missing = _NAMESPACE_MISSING.search(text)
        if missing is None:
            return object_state(key, REASON_KIND_UNKNOWN, text)
        wanted = f"namespace {missing.group(1)} does not exist: add it to the bundle or create it"
        return object_state(key, REASON_APPLY_REFUSED, wanted)
    if isinstance(error, ApplyRefused) and error.status == 403:
        return _forbidden(key, text)
    return object_state(key, REASON_APPLY_REFUSED, text)


def _forbidden(key: ObjectKey, text: str) -> ObjectState:
    if "because it is being terminated" in text:
        return object_state(key, REASON_NAMESPACE_WAITING, f"namespace {key.namespace} is being terminated")
    denied = _FORBIDDEN.search(text)
    if denied is not None:
        verb, resource, group = denied.groups()
        named = f"{resource}.{group}" if group else resource
        return object_state(
            key,
            REASON_APPLY_REFUSED,
            f"the agent may not {verb} {named}: add a ClusterRole with that verb, labelled {AGGREGATE_LABEL}=true",
        )
    if "attempting to grant RBAC permissions" in text:
        return object_state(
            key,
            REASON_APPLY_REFUSED,
            "it grants more than the agent may: install the agent with profile full, or apply it yourself",
        )
    return object_state(key, REASON_APPLY_REFUSED, text)
