"""What a changed body of the aspect tells: the events of each binding. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretsState, SecretState
from fleetbus.schemas.events import Happened


def transitions(aspect: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Happened]:
    before = {state.id: state for state in SecretsState.from_json(old).secrets}
    return [
        happened
        for state in SecretsState.from_json(new).secrets
        if (happened := _of(before.get(state.id), state)) is not None
    ]


def _of(old: SecretState | None, new: SecretState) -> Happened | None:
    if new.removed:
        return None if old is not None and old.removed else _removed(new)
    status, was = new.condition.status, old.condition.status if old else None
    if status == "True":
        rotated = old is not None and old.version and not old.removed and old.version != new.version
        if rotated and old is not None:
            return _said(
                new,
                schema.EVENT_ROTATED,
                schema.REASON_ROTATED,
                f"version {old.version} → {new.version}",
                **{"from": old.version},
            )
        if was != "True" and not _only_looked_away(old, new):
            return _said(new, schema.EVENT_SYNCED, new.condition.reason, f"version {new.version}")
        return None
    failed_before = was == "False" and old is not None and old.condition.reason == new.condition.reason
    if status == "False" and not failed_before:
        happened = _said(new, schema.EVENT_FAILED, new.condition.reason, new.condition.message)
        return happened.model_copy(update={"severity": "Warning"})
    return None


def _only_looked_away(old: SecretState | None, new: SecretState) -> bool:
    """Vault or the API server could not be asked for a while, and nothing had changed when they could."""
    return (
        old is not None
        and old.condition.status == "Unknown"
        and old.synced_at is not None
        and (old.version, old.synced_at) == (new.version, new.synced_at)
    )


def _removed(new: SecretState) -> Happened:
    type_ = schema.EVENT_REVOKED if new.condition.reason == schema.REASON_REVOKED else schema.EVENT_REMOVED
    happened = _said(new, type_, new.condition.reason, new.condition.message)
    if new.confirmed_at is None:
        return happened
    details = {**happened.details, "confirmedAt": new.confirmed_at.isoformat()}
    return happened.model_copy(update={"details": details})


def _said(state: SecretState, type_: str, reason: str, message: str, **details: int) -> Happened:
    return Happened(
        type=type_,
        subject=f"secretbinding/{state.name}",
        reason=reason,
        message=f"Secret {state.secret}: {message}" if state.secret else message,
        details={"secret": state.secret, "version": state.version, **details},
    )
