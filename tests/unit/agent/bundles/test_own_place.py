"""No repository reaches where the agent's key, record and rights lie."""

from __future__ import annotations

import pytest

from fleetbus.agent.capabilities.bundles.objects import ObjectKey
from fleetbus.agent.capabilities.bundles.ownership import is_agents_own


def key(group: str, kind: str, namespace: str, name: str) -> ObjectKey:
    return ObjectKey(group=group, kind=kind, namespace=namespace, name=name)


@pytest.mark.parametrize(
    "own",
    [
        key("", "Secret", "fleetbus-system", "fleetbus-agent"),
        key("", "ConfigMap", "fleetbus-system", "fleetbus-bundle-x"),
        key("batch", "Job", "fleetbus-system", "anything"),
        key("", "Namespace", "", "fleetbus-system"),
        key("", "Namespace", "", "kube-system"),
        key("apiextensions.k8s.io", "CustomResourceDefinition", "", "agentstates.agent.fleetbus.dev"),
        key("rbac.authorization.k8s.io", "ClusterRole", "", "fleetbus-agent"),
        key("rbac.authorization.k8s.io", "ClusterRoleBinding", "", "fleetbus-guard"),
        key("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "", "fleetbus-guard"),
        key("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "", "fleetbus-guard"),
    ],
)
def test_the_agents_own_is_refused(own: ObjectKey) -> None:
    assert is_agents_own(own)


@pytest.mark.parametrize(
    "other",
    [
        key("", "Secret", "shop", "fleetbus-agent"),
        key("", "Namespace", "", "shop"),
        key("apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.com"),
        key("rbac.authorization.k8s.io", "ClusterRole", "", "shop"),
        key("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "", "shop"),
        key("", "ConfigMap", "shop", "fleetbus-guard"),
    ],
)
def test_the_rest_is_a_bundles(other: ObjectKey) -> None:
    assert not is_agents_own(other)
