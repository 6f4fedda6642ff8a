"""Bundles in one cluster: objects applied in order, kept as they were told, pruned only from the record.

What may enter: everything between an artifact's bytes and the objects in the cluster. `plan`, `health`,
`ownership`, `objects`, `live`, `contest`, `judge` decide and are pure; `observe`, `drift`, `apply` act.
"""

from __future__ import annotations

from typing import Any

from fleetbus.agent.capabilities.bundles.ownership import PARENT_PREFIX
from fleetbus.agent.capabilities.bundles.transitions import transitions
from fleetbus.agent.capabilities.bundles.worker import BundlesWorker
from fleetbus.agent.ports import Capability, Rule
from fleetbus.schemas.capabilities import bundles as schema

_ALL = ("get", "list", "watch", "create", "update", "patch", "delete")

_RBAC = "rbac.authorization.k8s.io"

NEEDS = (
    Rule(("",), ("configmaps",), _ALL, names=(f"{PARENT_PREFIX}*",), home=True),
    Rule(
        ("",),
        (
            "namespaces",
            "configmaps",
            "secrets",
            "services",
            "serviceaccounts",
            "persistentvolumeclaims",
            "endpoints",
            "limitranges",
            "resourcequotas",
            "pods",
        ),
        _ALL,
    ),
    Rule(("apps",), ("deployments", "statefulsets", "daemonsets", "replicasets"), _ALL),
    Rule(("batch",), ("jobs", "cronjobs"), _ALL),
    Rule(("networking.k8s.io",), ("ingresses", "networkpolicies", "ingressclasses"), _ALL),
    Rule(("policy",), ("poddisruptionbudgets",), _ALL),
    Rule(("autoscaling",), ("horizontalpodautoscalers",), _ALL),
    Rule(("scheduling.k8s.io",), ("priorityclasses",), _ALL),
    Rule(("storage.k8s.io",), ("storageclasses",), _ALL),
    Rule(("apiextensions.k8s.io",), ("customresourcedefinitions",), _ALL),
    # Default services bring roles with rights that the agent does not have itself.
    Rule((_RBAC,), ("clusterroles", "roles"), (*_ALL, "bind", "escalate"), grants=True),
    Rule((_RBAC,), ("clusterrolebindings", "rolebindings"), _ALL, grants=True),
    Rule(("apiregistration.k8s.io",), ("apiservices",), _ALL, grants=True),
)


def _names(content: Any) -> list[str]:
    entries = content.get("bundles") if isinstance(content, dict) else None
    found = [entry.get("artifact") for entry in entries or () if isinstance(entry, dict)]
    return [name for name in found if isinstance(name, str)]


CAPABILITY = Capability(
    name=schema.CAPABILITY,
    section_version=schema.SECTION_VERSION,
    aspects=schema.ASPECTS,
    needs=NEEDS,
    start=BundlesWorker,
    transitions=transitions,
    names=_names,
)
