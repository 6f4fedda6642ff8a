"""Kubernetes objects in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetbus.schemas.agent_pod import AGENT_NAME as AGENT

RBAC = "rbac.authorization.k8s.io"
GOOD = "registry.example.com/shop/web:1"

__all__ = ["AGENT"]

Object = dict[str, Any]


def meta(name: str, namespace: str = "", **more: Any) -> Object:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


def config_map(namespace: str, name: str, **more: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(name, namespace, **more),
        "data": {"a": "b"},
    }


def service_account(namespace: str, name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name, namespace)}


def pod_spec(image: str, **more: Any) -> Object:
    container = {"name": "a", "image": image, **more.pop("container", {})}
    return {"containers": [container], **more}


def pod(namespace: str, name: str, image: str, **more: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, namespace),
        "spec": pod_spec(image, **more),
    }


def template(image: str, **more: Any) -> Object:
    return {"metadata": {"labels": {"app": "a"}}, "spec": pod_spec(image, **more)}


def workload(kind: str, namespace: str, name: str, image: str, **more: Any) -> Object:
    """Deployment, StatefulSet, DaemonSet or ReplicaSet."""
    spec: Object = {"selector": {"matchLabels": {"app": "a"}}, "template": template(image, **more)}
    if kind == "StatefulSet":
        spec["serviceName"] = "a"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta(name, namespace), "spec": spec}


def deployment(namespace: str, name: str, image: str, **more: Any) -> Object:
    return workload("Deployment", namespace, name, image, **more)


def job(namespace: str, name: str, image: str, **more: Any) -> Object:
    spec = {"template": {"spec": {"restartPolicy": "Never", **pod_spec(image, **more)}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(name, namespace), "spec": spec}


def cron_job(namespace: str, name: str, image: str, **more: Any) -> Object:
    spec = {"schedule": "0 0 * * *", "jobTemplate": {"spec": job(namespace, name, image, **more)["spec"]}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta(name, namespace), "spec": spec}


def role(
    kind: str,
    name: str,
    rules: Sequence[Mapping[str, Any]],
    *,
    namespace: str = "",
    labels: Mapping[str, str] | None = None,
    **more: Any,
) -> Object:
    metadata = meta(name, namespace, labels=dict(labels or {}))
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": list(rules), **more}


def binding(
    kind: str,
    name: str,
    to: str,
    subjects: Sequence[tuple[str, str, str]],
    *,
    namespace: str = "",
    of: str = "",
) -> Object:
    """`subjects`: kind, name, and namespace or ''."""
    told = [
        {"kind": what, "name": who, "namespace": place}
        if place
        else {"kind": what, "name": who, "apiGroup": RBAC}
        for what, who, place in subjects
    ]
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": meta(name, namespace),
        "roleRef": {"apiGroup": RBAC, "kind": of or "ClusterRole", "name": to},
        "subjects": told,
    }


def rule(groups: Sequence[str], resources: Sequence[str], *verbs: str) -> Object:
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}
