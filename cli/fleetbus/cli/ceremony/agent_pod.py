"""The Deployment that runs an agent: one pod, no right but its account's, a token for Vault's audience beside it."""

from __future__ import annotations

from typing import Any, Final

from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.capabilities.secrets import VAULT_AUDIENCE

NAMESPACE: Final = AGENT_NAMESPACE
NAME: Final = AGENT_NAME
_TOKEN_FOLDER: Final = "/var/run/secrets/fleetbus"
_TOKEN_TTL_S: Final = 3600
_LABELS: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "fleetbus"}


def deployment(image: str) -> dict[str, Any]:
    """`image` runs `fleetbus-agent`. Two pods never act at once: the new one waits for the old one's Lease."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(_LABELS)},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "template": {"metadata": {"labels": dict(_LABELS)}, "spec": _pod(image)},
        },
    }


def _pod(image: str) -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "agent",
                "image": image,
                "command": ["fleetbus-agent"],
                "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "vault-token", "mountPath": _TOKEN_FOLDER, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {
                "name": "vault-token",
                "projected": {
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "audience": VAULT_AUDIENCE,
                                "expirationSeconds": _TOKEN_TTL_S,
                                "path": "vault-token",
                            }
                        }
                    ]
                },
            },
        ],
    }
