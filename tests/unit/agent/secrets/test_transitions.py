"""The events of a binding in a cluster: at transitions, not at attempts, and never with anything of a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetbus.agent.capabilities.secrets.transitions import transitions
from fleetbus.schemas.capabilities.secrets import SecretsState, SecretState
from fleetbus.schemas.conditions import Condition, Status

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def body(status: Status, reason: str, **changes: Any) -> dict[str, Any]:
    condition = Condition(type="Synced", status=status, reason=reason, last_transition_at=NOW)
    given = {"id": "b1", "name": "db", "version": 1, "secret": "shop/db", "synced_at": NOW} | changes
    return SecretsState(secrets=(SecretState(condition=condition, **given),)).as_json()


SYNCED = body("True", "SecretSynced")
PENDING = body("Unknown", "SecretPending", version=0, synced_at=None)
SEALED = body("Unknown", "VaultSealed")
FORBIDDEN = body("False", "VaultForbidden")
REVOKED = body("False", "SecretRevoked", removed=True, removed_at=NOW, confirmed_at=NOW)


def types(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [happened.type for happened in transitions("secrets", old, new)]


def test_the_first_time_it_is_synced() -> None:
    assert types({}, SYNCED) == ["secret.synced"]
    assert types(PENDING, SYNCED) == ["secret.synced"]
    assert types(SYNCED, SYNCED) == []


def test_a_new_version_is_a_rotation() -> None:
    rotated = body("True", "SecretSynced", version=2, synced_at=NOW + timedelta(seconds=9))
    (happened,) = transitions("secrets", SYNCED, rotated)
    assert (happened.type, happened.details["version"], happened.details["from"]) == ("secret.rotated", 2, 1)
    assert types(SEALED, rotated) == ["secret.rotated"]


def test_a_vault_that_was_sealed_and_is_back_is_no_event() -> None:
    assert types(SYNCED, SEALED) == []
    assert types(SEALED, SYNCED) == []


def test_a_failure_is_told_once_and_as_a_warning() -> None:
    (happened,) = transitions("secrets", SYNCED, FORBIDDEN)
    assert (happened.type, happened.severity, happened.reason) == (
        "secret.failed",
        "Warning",
        "VaultForbidden",
    )
    assert types(FORBIDDEN, FORBIDDEN) == []
    assert types(FORBIDDEN, body("False", "SecretNotFound")) == ["secret.failed"]
    assert types(FORBIDDEN, SYNCED) == ["secret.synced"]


def test_a_revocation_carries_when_it_was_proved() -> None:
    (happened,) = transitions("secrets", SYNCED, REVOKED)
    assert (happened.type, happened.details["confirmedAt"]) == ("secret.revoked", NOW.isoformat())
    assert types(REVOKED, REVOKED) == []
    assert types(REVOKED, {}) == []


def test_a_retirement_is_a_removal() -> None:
    assert types(SYNCED, body("False", "SecretRemoved", removed=True)) == ["secret.removed"]
    assert types(SYNCED, body("False", "SecretReleased", removed=True)) == ["secret.removed"]


def test_what_is_bound_again_after_a_revocation_is_synced() -> None:
    assert types(REVOKED, SYNCED) == ["secret.synced"]
