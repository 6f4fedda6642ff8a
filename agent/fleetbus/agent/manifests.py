"""What stands in a cluster for its agent: namespace, account, the kinds of its own, RBAC from what its parts need.

`python -m fleetbus.agent.manifests` writes `deploy/kustomize/`, the guard as well; a test compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetbus.agent.guard.policy import guard
from fleetbus.agent.keep import AGENT_STATE
from fleetbus.agent.needs import PROFILES, Profile, cluster_rules, home_rules
from fleetbus.agent.protection import PROTECTION
from fleetbus.agent.protection_schema import protection_schema
from fleetbus.agent.settings import NAME, NAMESPACE
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.agent_pod import AGGREGATE_LABEL

_RBAC = "rbac.authorization.k8s.io"
_LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "fleetbus"}


def manifests(profile: Profile = "standard") -> list[dict[str, Any]]:
    """All objects, in the order in which they can be applied."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    additions = f"{NAME}-additions"
    found = [
        _object("v1", "Namespace", NAMESPACE),
        _definition(AGENT_STATE, _state_schema()),
        _definition(PROTECTION, protection_schema()),
        _object("v1", "ServiceAccount", NAME, NAMESPACE),
        {**_object(f"{_RBAC}/v1", "Role", NAME, NAMESPACE), "rules": home_rules(profile)},
        _binding("RoleBinding", NAME, "Role", NAME, subject, NAMESPACE),
        # Of one name in all profiles, so that another profile takes the place of this one.
        {**_object(f"{_RBAC}/v1", "ClusterRole", NAME), "rules": cluster_rules(profile)},
        _binding("ClusterRoleBinding", NAME, "ClusterRole", NAME, subject),
    ]
    # The role is bound by itself as well, since aggregation takes its time after an installation.
    aggregated = {
        **_object(f"{_RBAC}/v1", "ClusterRole", additions),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {AGGREGATE_LABEL: "true"}}]},
        "rules": [],
    }
    added = _binding("ClusterRoleBinding", additions, "ClusterRole", additions, subject)
    if profile == "observe":
        added["subjects"] = []
    return [*found, aggregated, added]


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


def _state_schema() -> dict[str, Any]:
    """The kind AgentState: JSON in strings, by key, written by the agent alone."""
    state = {
        "type": "object",
        "description": "What the agent must not forget, by key: JSON.",
        "additionalProperties": {"type": "string"},
    }
    return {
        "type": "object",
        "description": "What must outlive the agent's process. Written by the agent alone.",
        "properties": {
            "holder": {"type": "string", "description": "The agent that wrote it, as the Lease names it."},
            "state": state,
        },
    }


def _definition(resource: Resource, schema: dict[str, Any]) -> dict[str, Any]:
    """The definition of a kind of the agent's own."""
    return {
        **_object(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{resource.plural}.{resource.group}"
        ),
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
            },
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def files() -> dict[str, str]:
    """Path below `deploy/kustomize/` → content: a kustomization for each profile of the agent, and the guard's."""
    found: dict[str, str] = {}
    for profile in PROFILES:
        found |= _folder(f"agent/{profile}", "agent.yaml", manifests(profile))
    return found | _folder("guard", "guard.yaml", guard())


def _folder(folder: str, name: str, objects: list[dict[str, Any]]) -> dict[str, str]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Texts of several lines stay lines."""

    def lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, lines)
    head = "# Generated by `python -m fleetbus.agent.manifests`; do not edit.\n"
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [name],
    }
    return {
        f"{folder}/{name}": head + yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=110),
        f"{folder}/kustomization.yaml": head + yaml.safe_dump(kustomization, sort_keys=False),
    }


def write(folder: Path) -> None:
    for path, content in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[3] / "deploy" / "kustomize")
