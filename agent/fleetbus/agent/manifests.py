"""What stands in a cluster for its agent: namespace, account, the AgentState kind, and RBAC from the catalogue.

`python -m fleetbus.agent.manifests` writes `deploy/kustomize/agent/`; a test compares them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from fleetbus.agent.catalogue import CAPABILITIES
from fleetbus.agent.facts import NEEDS as FACTS_NEEDS
from fleetbus.agent.keep import AGENT_STATE
from fleetbus.agent.keep import NAME as STATE_NAME
from fleetbus.agent.ports import Rule
from fleetbus.agent.settings import NAME, NAMESPACE
from fleetbus.schemas.agent_pod import AGGREGATE_LABEL

Profile = Literal["observe", "standard", "full"]
"""observe: writes nothing but the agent's own state. standard: the usual kinds, extended by ClusterRoles with
the label AGGREGATE_LABEL. full: also RBAC objects and aggregated APIs, to be fenced by the cluster's owner."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

_RBAC = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
_WRITE = ("create", "update", "patch", "delete")
_LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "fleetbus"}
_FULL = (
    Rule(
        (_RBAC,),
        ("clusterroles", "roles"),
        (*_READ, *_WRITE, "bind", "escalate"),
    ),
    Rule((_RBAC,), ("clusterrolebindings", "rolebindings"), (*_READ, *_WRITE)),
    Rule(("apiregistration.k8s.io",), ("apiservices",), (*_READ, *_WRITE)),
)
_OWN = (
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [NAME],
        "verbs": ["get", "update"],
    },
    {"apiGroups": [AGENT_STATE.group], "resources": [AGENT_STATE.plural], "verbs": ["create"]},
    {
        "apiGroups": [AGENT_STATE.group],
        "resources": [AGENT_STATE.plural],
        "resourceNames": [STATE_NAME],
        "verbs": ["get", "update"],
    },
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get", "update"]},
)


def manifests(profile: Profile = "standard") -> list[dict[str, Any]]:
    """All objects, in the order in which they can be applied."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    base, additions = f"{NAME}-{profile}", f"{NAME}-additions"
    found = [
        _object("v1", "Namespace", NAMESPACE),
        _definition(),
        _object("v1", "ServiceAccount", NAME, NAMESPACE),
        {**_object(f"{_RBAC}/v1", "Role", NAME, NAMESPACE), "rules": [dict(rule) for rule in _OWN]},
        _binding("RoleBinding", NAME, "Role", NAME, subject, NAMESPACE),
        {**_object(f"{_RBAC}/v1", "ClusterRole", base), "rules": cluster_rules(profile)},
        _binding("ClusterRoleBinding", base, "ClusterRole", base, subject),
    ]
    if profile != "observe":
        # The base is bound by itself as well, since aggregation takes its time after an installation.
        selector = {"matchLabels": {AGGREGATE_LABEL: "true"}}
        aggregated = {
            **_object(f"{_RBAC}/v1", "ClusterRole", additions),
            "aggregationRule": {"clusterRoleSelectors": [selector]},
            "rules": [],
        }
        found += [aggregated, _binding("ClusterRoleBinding", additions, "ClusterRole", additions, subject)]
    return found


def cluster_rules(profile: Profile) -> list[dict[str, Any]]:
    """ClusterRole rules of a profile, one for each set of verbs in an API group."""
    needs: list[Rule] = [*FACTS_NEEDS, *(rule for capability in CAPABILITIES for rule in capability.needs)]
    if profile == "full":
        needs += _FULL
    if profile == "observe":
        needs = [Rule(one.api_groups, one.resources, _only_reading(one.verbs)) for one in needs]
    return _merged(needs)


def _only_reading(verbs: Iterable[str]) -> tuple[str, ...]:
    return tuple(verb for verb in verbs if verb in _READ)


def _merged(needs: Iterable[Rule]) -> list[dict[str, Any]]:
    verbs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in needs:
        for group in rule.api_groups:
            for resource in rule.resources:
                verbs[(group, resource)].update(rule.verbs)
    together: defaultdict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource), allowed in sorted(verbs.items()):
        together[(group, tuple(sorted(allowed)))].append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(allowed)}
        for (group, allowed), resources in sorted(together.items())
    ]


def _object(api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": dict(_LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _binding(
    kind: str, name: str, role_kind: str, role: str, subject: dict[str, str], namespace: str = ""
) -> dict[str, Any]:
    return {
        **_object(f"{_RBAC}/v1", kind, name, namespace),
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [dict(subject)],
    }


def _definition() -> dict[str, Any]:
    """The kind AgentState: JSON in strings, by key, written by the agent alone."""
    state = {
        "type": "object",
        "description": "What the agent must not forget, by key: JSON.",
        "additionalProperties": {"type": "string"},
    }
    schema = {
        "type": "object",
        "description": "What must outlive the agent's process. Written by the agent alone.",
        "properties": {
            "holder": {"type": "string", "description": "The agent that wrote it, as the Lease names it."},
            "state": state,
        },
    }
    return {
        **_object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            f"{AGENT_STATE.plural}.{AGENT_STATE.group}",
        ),
        "spec": {
            "group": AGENT_STATE.group,
            "scope": "Namespaced",
            "names": {
                "kind": AGENT_STATE.kind,
                "listKind": f"{AGENT_STATE.kind}List",
                "plural": AGENT_STATE.plural,
                "singular": AGENT_STATE.kind.lower(),
            },
            "versions": [
                {
                    "name": AGENT_STATE.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def files() -> dict[str, str]:
    """Path below `deploy/kustomize/agent/` → content: a kustomization for each profile."""
    import yaml

    head = "# Generated by `python -m fleetbus.agent.manifests`; do not edit.\n"
    found: dict[str, str] = {}
    for profile in PROFILES:
        documents = yaml.safe_dump_all(manifests(profile), sort_keys=False, width=110)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["agent.yaml"],
        }
        found[f"{profile}/agent.yaml"] = head + documents
        found[f"{profile}/kustomization.yaml"] = head + yaml.safe_dump(kustomization, sort_keys=False)
    return found


def write(folder: Path) -> None:
    for path, content in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[3] / "deploy" / "kustomize" / "agent")
