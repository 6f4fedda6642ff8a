"""The policy and its binding, from the checks and from what the agent's parts declare that they need."""

from __future__ import annotations

from typing import Any

from fleetbus.agent.guard import places, pods, rights, variables
from fleetbus.agent.guard.check import Check, refusal, texts
from fleetbus.agent.needs import home_writes, subresources
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.guard import ANY, GUARD, NAMESPACES, PARAMETERS, REGISTRIES, SUBRESOURCES

CHECKS: tuple[Check, ...] = (*places.CHECKS, *pods.CHECKS, pods.ACCOUNT, *rights.CHECKS)

_LABELS = {"app.kubernetes.io/name": GUARD, "app.kubernetes.io/part-of": "fleetbus"}
_ACCOUNT = f"system:serviceaccount:{AGENT_NAMESPACE}:{AGENT_NAME}"


def guard() -> list[dict[str, Any]]:
    """Both objects, with parameters that allow all but what is never allowed."""
    return [_policy(), _binding()]


def parameters() -> tuple[tuple[str, str], ...]:
    """What the owner may change: name and CEL of a list of texts.

    They stand in the policy itself: a policy whose parameter object is missing refuses every write of everybody.
    """
    first = {NAMESPACES: (ANY,), "kinds": (ANY,), REGISTRIES: (ANY,), SUBRESOURCES: subresources()}
    return tuple((name, texts(first.get(name, ()))) for name in PARAMETERS)


def _policy() -> dict[str, Any]:
    named = (
        *parameters(),
        ("home", texts(home_writes())),
        *variables.VARIABLES,
        *pods.VARIABLES,
        *rights.VARIABLES,
        ("placeRefusal", refusal(places.CHECKS)),
        ("podRefusal", refusal(pods.CHECKS, pods.WHEN)),
        ("rightRefusal", refusal(rights.CHECKS, rights.WHEN)),
        (
            "refusal",
            "variables.placeRefusal != '' ? variables.placeRefusal :\n"
            "variables.podRefusal != '' ? variables.podRefusal :\n"
            "variables.rightRefusal",
        ),
    )
    validations = [
        _validation("variables.refusal == ''", "variables.refusal"),
        # By itself: a message may not ask the authorizer, and so not whatever has asked it.
        _validation(pods.ACCOUNT.holds, pods.ACCOUNT.sentence()),
    ]
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    held = (
        f"request.userInfo.username in ['{_ACCOUNT}'] || (has(request.userInfo.groups) &&"
        f" 'system:serviceaccounts:{AGENT_NAMESPACE}' in request.userInfo.groups)"
    )
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": GUARD, "labels": dict(_LABELS)},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [everything]},
            "matchConditions": [{"name": "held-accounts", "expression": held}],
            "variables": [{"name": name, "expression": expression} for name, expression in named],
            "validations": validations,
        },
    }


def _validation(holds: str, sentence: str) -> dict[str, str]:
    return {
        "expression": holds,
        "messageExpression": f"variables.shown + ': ' + {sentence}",
        "reason": "Forbidden",
    }


def _binding() -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": GUARD, "labels": dict(_LABELS)},
        "spec": {"policyName": GUARD, "validationActions": ["Deny", "Audit"]},
    }
