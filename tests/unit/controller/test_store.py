"""Generations and uids: what an apply makes of what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetbus.controller.store import merged
from fleetbus.schemas.capabilities.bundles import Bundle
from fleetbus.schemas.documents import Revocation, Stored, Tombstone
from fleetbus.schemas.errors import Refused

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def bundle(path: str = "a", **metadata: Any) -> Bundle:
    return Bundle.model_validate(
        {
            "kind": "Bundle",
            "metadata": {"name": "web", **metadata},
            "spec": {"source": "s", "path": path, "placement": {}},
        }
    )


def stored() -> Stored:
    return merged(bundle(labels={"team": "edge"}), None, lambda: "uid-1", NOW)


def test_a_new_document_has_a_uid_and_generation_one() -> None:
    new = stored()
    assert (new.uid, new.generation, new.created_at, new.updated_at) == ("uid-1", 1, NOW, NOW)
    assert new.spec["path"] == "a"


def test_the_same_document_is_the_very_same() -> None:
    before = stored()
    assert merged(bundle(labels={"team": "edge"}), before, lambda: "other", LATER) is before


def test_labels_and_annotations_do_not_move_the_generation() -> None:
    after = merged(bundle(labels={"team": "core"}, annotations={"a": "b"}), stored(), lambda: "other", LATER)
    assert (after.uid, after.generation, after.created_at, after.updated_at) == ("uid-1", 1, NOW, LATER)
    assert after.labels == {"team": "core"}


def test_a_changed_spec_moves_the_generation() -> None:
    after = merged(bundle("b", labels={"team": "edge"}), stored(), lambda: "other", LATER)
    assert (after.uid, after.generation) == ("uid-1", 2)


def test_what_the_controller_set_is_ignored_when_applied_again() -> None:
    again = bundle(labels={"team": "edge"}, uid="forged", generation=99)
    before = stored()
    assert merged(again, before, lambda: "other", LATER) is before


def test_released_prunes_survive_an_apply() -> None:
    before = stored().model_copy(update={"released_prune": {"retired": 4}})
    assert merged(bundle("b"), before, lambda: "other", LATER).released_prune == {"retired": 4}


def test_an_apply_lifts_no_revocation() -> None:
    before = stored().model_copy(update={"revoked": Revocation(at=NOW, by="ana", reason="leaked")})
    assert merged(bundle(labels={"team": "edge"}), before, lambda: "other", LATER) is before
    assert merged(bundle("b"), before, lambda: "other", LATER).revoked == before.revoked


def test_a_document_that_is_being_deleted_is_not_changed() -> None:
    before = stored().model_copy(update={"deleting": Tombstone(at=NOW, policy="Keep")})
    with pytest.raises(Refused, match="being deleted"):
        merged(bundle("b"), before, lambda: "other", LATER)
