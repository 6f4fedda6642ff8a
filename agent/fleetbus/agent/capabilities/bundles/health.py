"""Whether an object does what it is for, by the rules of kstatus (sigs.k8s.io/cli-utils/pkg/kstatus). Pure.

Current: it does. InProgress: its controller is at work. Failed: it will not without a change. Terminating.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from fleetbus.agent.capabilities.bundles.objects import GroupKind

State = Literal["Current", "InProgress", "Failed", "Terminating"]
_Object = Mapping[str, Any]


class Health(NamedTuple):
    state: State
    message: str = ""

    @property
    def current(self) -> bool:
        return self.state == "Current"


CURRENT = Health("Current")


def is_watched_whole(kind: GroupKind) -> bool:
    """Whether the health of a kind stands in more than its metadata: those with a rule, and all custom kinds."""
    group = kind[0]
    return kind in _RULES or ("." in group and not group.endswith(".k8s.io"))


def assess(kind: GroupKind, found: _Object) -> Health:
    """The health of a whole object."""
    metadata = found.get("metadata") or {}
    if metadata.get("deletionTimestamp"):
        return Health("Terminating", "is being deleted")
    status = found.get("status") or {}
    observed, generation = status.get("observedGeneration"), metadata.get("generation")
    if isinstance(observed, int) and isinstance(generation, int) and observed < generation:
        return Health("InProgress", f"generation {generation} is not observed yet, only {observed}")
    generic = _generic(status)
    if generic is not None:
        return generic
    rule = _RULES.get(kind)
    return rule(found.get("spec") or {}, status) if rule else _ready(status)


def condition(status: _Object, type_: str) -> Mapping[str, Any]:
    """A condition of a status; empty when there is none."""
    for one in status.get("conditions") or ():
        if isinstance(one, dict) and one.get("type") == type_:
            return one
    return {}


def _said(one: _Object) -> str:
    return str(one.get("message") or one.get("reason") or "")


def _generic(status: _Object) -> Health | None:
    """The conditions that kstatus defines for every kind."""
    stalled, reconciling = condition(status, "Stalled"), condition(status, "Reconciling")
    if stalled.get("status") == "True":
        return Health("Failed", _said(stalled))
    if reconciling.get("status") == "True":
        return Health("InProgress", _said(reconciling))
    return None


def _ready(status: _Object) -> Health:
    ready = condition(status, "Ready")
    if ready and ready.get("status") != "True":
        return Health("InProgress", _said(ready) or "not ready")
    return CURRENT


def _number(values: _Object, name: str, default: int = 0) -> int:
    value = values.get(name, default)
    return value if isinstance(value, int) else default


def _deployment(spec: _Object, status: _Object) -> Health:
    progressing = condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Health("Failed", _said(progressing))
    wanted = _number(spec, "replicas", 1)
    if progressing and progressing.get("status") != "True":
        return Health("InProgress", _said(progressing))
    waits = _replicas(status, wanted)
    if waits is None and condition(status, "Available").get("status", "True") != "True":
        waits = _said(condition(status, "Available")) or "not available"
    if waits is None and not status.get("observedGeneration"):
        waits = "its controller has not seen it yet"
    return Health("InProgress", waits) if waits else CURRENT


def _replicas(status: _Object, wanted: int) -> str | None:
    replicas, updated = _number(status, "replicas"), _number(status, "updatedReplicas")
    available, ready = _number(status, "availableReplicas"), _number(status, "readyReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} replicas updated"
    if replicas > updated:
        return f"{replicas - updated} old replicas are still there"
    if available < wanted:
        return f"{available} of {wanted} replicas available"
    if ready < wanted:
        return f"{ready} of {wanted} replicas ready"
    return None


def _replica_set(spec: _Object, status: _Object) -> Health:
    failure = condition(status, "ReplicaFailure")
    if failure.get("status") == "True":
        return Health("InProgress", _said(failure))
    wanted = _number(spec, "replicas", 1)
    for name in ("fullyLabeledReplicas", "availableReplicas", "readyReplicas"):
        if (have := _number(status, name)) < wanted:
            return Health("InProgress", f"{have} of {wanted} replicas {_WORDS[name]}")
    if _number(status, "replicas") > wanted:
        return Health("InProgress", f"{_number(status, 'replicas')} replicas, {wanted} wanted")
    return CURRENT


_WORDS = {
    "fullyLabeledReplicas": "labelled",
    "availableReplicas": "available",
    "readyReplicas": "ready",
}


def _stateful_set(spec: _Object, status: _Object) -> Health:
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return CURRENT
    wanted = _number(spec, "replicas", 1)
    replicas, ready = _number(status, "replicas"), _number(status, "readyReplicas")
    current, updated = _number(status, "currentReplicas"), _number(status, "updatedReplicas")
    if replicas < wanted or ready < wanted:
        return Health("InProgress", f"{min(replicas, ready)} of {wanted} replicas ready")
    if replicas > wanted:
        return Health("InProgress", f"{replicas} replicas, {wanted} wanted")
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0
    if partition:
        behind = updated < wanted - int(partition)
        return Health("InProgress", f"{updated} of {wanted - partition} updated") if behind else CURRENT
    if current < wanted or status.get("currentRevision") != status.get("updateRevision"):
        return Health("InProgress", f"{updated} of {wanted} replicas updated")
    return CURRENT


def _daemon_set(spec: _Object, status: _Object) -> Health:
    if not status.get("observedGeneration"):
        return Health("InProgress", "its controller has not seen it yet")
    wanted = _number(status, "desiredNumberScheduled")
    counts = (
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    )
    for name, word in counts:
        if (have := _number(status, name)) < wanted:
            return Health("InProgress", f"{have} of {wanted} pods {word}")
    return CURRENT


def _job(spec: _Object, status: _Object) -> Health:
    failed, complete = condition(status, "Failed"), condition(status, "Complete")
    if failed.get("status") == "True":
        return Health("Failed", _said(failed) or "failed")
    if complete.get("status") == "True" or spec.get("suspend"):
        return CURRENT
    if not status.get("startTime"):
        return Health("InProgress", "not started")
    # As kstatus has it: a Job that runs is as it should be; whether it succeeds is for its own conditions.
    return CURRENT


def _pod(spec: _Object, status: _Object) -> Health:
    phase = status.get("phase")
    if phase == "Succeeded":
        return CURRENT
    if phase == "Failed":
        return Health("Failed", _said(status) or "failed")
    for container in status.get("containerStatuses") or ():
        waiting = ((container.get("state") or {}).get("waiting") or {}).get("reason")
        if waiting in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"):
            return Health("Failed", f"container {container.get('name')}: {waiting}")
    if phase == "Running" and condition(status, "Ready").get("status") == "True":
        return CURRENT
    unschedulable = condition(status, "PodScheduled")
    said = _said(unschedulable) if unschedulable.get("status") == "False" else f"phase {phase or 'Pending'}"
    return Health("InProgress", said)


def _claim(spec: _Object, status: _Object) -> Health:
    phase = status.get("phase")
    return CURRENT if phase == "Bound" else Health("InProgress", f"phase {phase or 'Pending'}")


def _service(spec: _Object, status: _Object) -> Health:
    waits = spec.get("type") == "LoadBalancer" and not (status.get("loadBalancer") or {}).get("ingress")
    return Health("InProgress", "has no load balancer yet") if waits else CURRENT


def _definition(spec: _Object, status: _Object) -> Health:
    names, established = condition(status, "NamesAccepted"), condition(status, "Established")
    if names.get("status") == "False":
        return Health("Failed", _said(names))
    if established.get("status") == "True":
        return CURRENT
    return Health("InProgress", _said(established) or "not established")


def _api_service(spec: _Object, status: _Object) -> Health:
    available = condition(status, "Available")
    if available.get("status") == "True":
        return CURRENT
    return Health("InProgress", _said(available) or "not available")


def _namespace(spec: _Object, status: _Object) -> Health:
    phase = status.get("phase", "Active")
    return CURRENT if phase == "Active" else Health("Terminating", f"phase {phase}")


def _disruption_budget(spec: _Object, status: _Object) -> Health:
    if _number(status, "currentHealthy") < _number(status, "desiredHealthy"):
        return Health("InProgress", "fewer healthy pods than it asks for")
    return CURRENT


_RULES: dict[GroupKind, Callable[[_Object, _Object], Health]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
}
