"""What the apiserver checks of a Protection before it stores it. The agent reads it as strictly, whoever wrote it."""

from __future__ import annotations

from typing import Any

from fleetbus.schemas.approvals import MAX_APPROVERS, PROTECTION_NAME


def protection_schema() -> dict[str, Any]:
    """OpenAPI v3 with rules in CEL."""
    approver = {
        "type": "object",
        "required": ["name", "key"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Who it is."},
            "key": {
                "type": "string",
                "pattern": "^U[A-Z2-7]{55}$",
                "description": "The approver's public key, as `fleetbus approver create` prints it.",
            },
        },
    }
    spec = {
        "type": "object",
        "required": ["required"],
        "properties": {
            "required": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_APPROVERS,
                "description": "How many of the approvers must sign. 0 lifts the protection.",
            },
            "approvers": {
                "type": "array",
                "maxItems": MAX_APPROVERS,
                "items": approver,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["key"],
                "description": "Whose approvals count.",
            },
        },
        "x-kubernetes-validations": [
            {
                "rule": "self.required <= (has(self.approvers) ? self.approvers.size() : 0)",
                "message": "more approvals are required than there are approvers",
            },
            {
                "rule": "!has(self.approvers) || self.approvers.all(a, self.approvers.exists_one(b, b.name == a.name))",
                "message": "two approvers have one name",
            },
        ],
    }
    return {
        "type": "object",
        "required": ["spec"],
        "description": "What this cluster is told counts only once approvers have signed for it. Written by the "
        "cluster's owner; the agent reads it.",
        "properties": {"spec": spec},
        "x-kubernetes-validations": [
            {
                "rule": f"self.metadata.name == '{PROTECTION_NAME}'",
                "message": f"there is one, and its name is {PROTECTION_NAME}",
            }
        ],
    }
