"""Health by kstatus's rules, a table a kind."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.agent.capabilities.bundles.health import assess, is_watched_whole

APPS = "apps"


def found(status: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2, **metadata}, "spec": spec or {}, "status": status}


def conditions(**status: str) -> list[dict[str, str]]:
    return [{"type": name, "status": value, "message": f"{name} says"} for name, value in status.items()]


DONE = {
    "observedGeneration": 2,
    "replicas": 3,
    "updatedReplicas": 3,
    "availableReplicas": 3,
    "readyReplicas": 3,
}
SETS = {**DONE, "currentReplicas": 3, "currentRevision": "a", "updateRevision": "a"}
DAEMON = {
    "observedGeneration": 2,
    "desiredNumberScheduled": 2,
    "currentNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
    "numberReady": 2,
}
DEADLINE = [
    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
]
CRASHING = [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
SPEC = {"replicas": 3}
LB = {"type": "LoadBalancer"}


@pytest.mark.parametrize(
    ("kind", "status", "spec", "state"),
    [
        ((APPS, "Deployment"), DONE, SPEC, "Current"),
        ((APPS, "Deployment"), {}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "observedGeneration": 1}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "updatedReplicas": 1}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "replicas": 4}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "availableReplicas": 2}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "readyReplicas": 2}, SPEC, "InProgress"),
        ((APPS, "Deployment"), {**DONE, "conditions": DEADLINE}, SPEC, "Failed"),
        ((APPS, "Deployment"), {"observedGeneration": 2}, {"replicas": 0}, "Current"),
        ((APPS, "StatefulSet"), SETS, SPEC, "Current"),
        ((APPS, "StatefulSet"), {**SETS, "readyReplicas": 1}, SPEC, "InProgress"),
        ((APPS, "StatefulSet"), {**SETS, "updateRevision": "b"}, SPEC, "InProgress"),
        ((APPS, "StatefulSet"), {}, {"updateStrategy": {"type": "OnDelete"}}, "Current"),
        ((APPS, "DaemonSet"), DAEMON, {}, "Current"),
        ((APPS, "DaemonSet"), {**DAEMON, "numberReady": 1}, {}, "InProgress"),
        ((APPS, "DaemonSet"), {}, {}, "InProgress"),
        ((APPS, "ReplicaSet"), {**DONE, "fullyLabeledReplicas": 3}, SPEC, "Current"),
        ((APPS, "ReplicaSet"), {**DONE, "fullyLabeledReplicas": 1}, SPEC, "InProgress"),
        (("batch", "Job"), {}, {}, "InProgress"),
        (("batch", "Job"), {"startTime": "t"}, {}, "Current"),
        (("batch", "Job"), {"conditions": conditions(Complete="True")}, {}, "Current"),
        (("batch", "Job"), {"conditions": conditions(Failed="True")}, {}, "Failed"),
        (("batch", "Job"), {}, {"suspend": True}, "Current"),
        (("", "Pod"), {"phase": "Running", "conditions": conditions(Ready="True")}, {}, "Current"),
        (("", "Pod"), {"phase": "Succeeded"}, {}, "Current"),
        (("", "Pod"), {"phase": "Failed"}, {}, "Failed"),
        (("", "Pod"), {"phase": "Pending", "containerStatuses": CRASHING}, {}, "Failed"),
        (("", "Pod"), {"phase": "Pending"}, {}, "InProgress"),
        (("", "PersistentVolumeClaim"), {"phase": "Bound"}, {}, "Current"),
        (("", "PersistentVolumeClaim"), {"phase": "Pending"}, {}, "InProgress"),
        (("", "Service"), {}, {"type": "ClusterIP"}, "Current"),
        (("", "Service"), {"loadBalancer": {}}, LB, "InProgress"),
        (("", "Service"), {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}, LB, "Current"),
        (("", "Namespace"), {"phase": "Active"}, {}, "Current"),
        (("", "Namespace"), {"phase": "Terminating"}, {}, "Terminating"),
        (("policy", "PodDisruptionBudget"), {"currentHealthy": 1, "desiredHealthy": 2}, {}, "InProgress"),
        (
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            {"conditions": conditions(Established="True", NamesAccepted="True")},
            {},
            "Current",
        ),
        (
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            {"conditions": conditions(NamesAccepted="False")},
            {},
            "Failed",
        ),
        (("apiextensions.k8s.io", "CustomResourceDefinition"), {}, {}, "InProgress"),
        (
            ("apiregistration.k8s.io", "APIService"),
            {"conditions": conditions(Available="False")},
            {},
            "InProgress",
        ),
        (("example.com", "Widget"), {}, {}, "Current"),
        (("example.com", "Widget"), {"conditions": conditions(Ready="False")}, {}, "InProgress"),
        (("example.com", "Widget"), {"conditions": conditions(Ready="True")}, {}, "Current"),
        (("example.com", "Widget"), {"conditions": conditions(Stalled="True")}, {}, "Failed"),
        (("example.com", "Widget"), {"conditions": conditions(Reconciling="True")}, {}, "InProgress"),
        (("example.com", "Widget"), {"observedGeneration": 1}, {}, "InProgress"),
    ],
)
def test_health(kind: tuple[str, str], status: dict[str, Any], spec: dict[str, Any], state: str) -> None:
    assert assess(kind, found(status, spec)).state == state


def test_what_is_being_deleted_is_terminating() -> None:
    going = found(DONE, SPEC, deletionTimestamp="2026-01-01T00:00:00Z")
    assert assess((APPS, "Deployment"), going).state == "Terminating"


def test_only_kinds_whose_health_stands_in_their_status_are_watched_whole() -> None:
    assert is_watched_whole((APPS, "Deployment"))
    assert is_watched_whole(("cert-manager.io", "Certificate"))
    assert not is_watched_whole(("", "ConfigMap"))
    assert not is_watched_whole(("rbac.authorization.k8s.io", "ClusterRole"))
