"""What a newer list takes away from an accepted one: bindings that were revoked. Pure."""

from __future__ import annotations

from typing import Any

from fleetbus.schemas.capabilities.secrets import SecretsSection


def withdrawn(accepted: Any, told: Any) -> Any:
    """The accepted content, with those bindings revoked that the told one revokes. Raises MessageMalformed.

    Nothing else of the told one counts: not where the Secret would lie, nor what it would hold.
    """
    before, after = SecretsSection.from_json(accepted), SecretsSection.from_json(told)
    revoked = {one.id: one.generation for one in after.secrets if one.revoked}
    entries = tuple(
        one.model_copy(update={"revoked": True, "generation": max(one.generation, revoked[one.id])})
        if one.id in revoked
        else one
        for one in before.secrets
    )
    return before.model_copy(update={"secrets": entries}).as_json()
