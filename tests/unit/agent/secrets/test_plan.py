"""What is done about a binding, for everything that may be found at its place and at Vault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.agent.capabilities.secrets import records, troubles
from fleetbus.agent.capabilities.secrets.plan import (
    Gone,
    Live,
    Place,
    Record,
    Release,
    Remove,
    Rest,
    Seen,
    Trouble,
    Wanted,
    Write,
    is_ours,
    label_of,
    plan,
    wanted,
)
from fleetbus.schemas import errors
from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection
from fleetbus.schemas.desired import Retired

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PLACE, OTHER = Place("shop", "db"), Place("shop", "db-old")


def entry(**changes: Any) -> SecretEntry:
    told = {
        "id": "b1",
        "name": "db",
        "generation": 2,
        "path": "main/c1/db",
        "namespace": "shop",
        "secret": "db",
    }
    return SecretEntry.model_validate(told | changes)


def want(aim: Literal["follow", "revoke", "remove", "keep"] = "follow") -> Wanted:
    return Wanted("b1", "db", aim, entry() if aim in ("follow", "revoke") else None)


def live(**changes: Any) -> Live:
    ours = Live(PLACE, "u1", "10", 3, "b1", "db", managed=True)
    return replace(ours, **changes)


def record(**changes: Any) -> Record:
    made = records.written(want(), None, live(), Trouble("True", "SecretSynced", ""), NOW, "")
    return replace(made, **changes)


def reason(steps: tuple[Any, ...]) -> str:
    (step,) = steps
    assert isinstance(step, Rest)
    return step.trouble.reason


def test_nothing_there_is_written() -> None:
    assert plan(want(), Seen(vault_version=3), None) == (Write(entry()),)


def test_what_is_in_step_is_left_alone() -> None:
    assert reason(plan(want(), Seen(live(), vault_version=3), record())) == schema.REASON_SYNCED


@pytest.mark.parametrize(
    ("seen", "remembered", "putting_back"),
    [
        (Seen(live(), vault_version=4), record(), False),
        (Seen(live(resource_version="11"), vault_version=3), record(), True),
        (Seen(live(), vault_version=3), record(written=1), False),
        (Seen(live(), vault_version=3), None, False),
        (Seen(None, vault_version=3), record(), True),
    ],
    ids=["new version", "hand edit", "new generation", "nothing remembered", "deleted"],
)
def test_what_is_out_of_step_is_written(seen: Seen, remembered: Record | None, putting_back: bool) -> None:
    (step,) = plan(want(), seen, remembered)
    assert isinstance(step, Write)
    assert step.uid == ("u1" if seen.live else "")
    assert step.putting_back is putting_back


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(live(managed=False), vault_version=3), schema.REASON_NOT_OURS),
        (Seen(live(binding_id="b2"), vault_version=3), schema.REASON_NOT_OURS),
        (Seen(live(binding_id=""), vault_version=3), schema.REASON_NOT_OURS),
        (Seen(namespace="Missing"), schema.REASON_NAMESPACE_MISSING),
        (Seen(namespace="Terminating"), schema.REASON_NAMESPACE_MISSING),
        (Seen(live(), vault_version=0), schema.REASON_NOT_FOUND),
        (Seen(live(deleting=True), vault_version=3), schema.REASON_FINALIZER),
        (Seen(live(), trouble=troubles.NO_VAULT), schema.REASON_VAULT_UNAVAILABLE),
    ],
)
def test_what_hinders_is_said_and_nothing_is_written(seen: Seen, expected: str) -> None:
    assert reason(plan(want(), seen, None)) == expected


def test_the_other_binding_is_named() -> None:
    (step,) = plan(want(), Seen(live(binding_id="b2", binding_name="cache"), vault_version=3), None)
    assert isinstance(step, Rest)
    assert "binding `cache`" in step.trouble.message


def test_an_object_that_we_made_is_ours_whatever_became_of_its_marks() -> None:
    stripped = live(binding_id="", binding_name="", managed=False)
    assert is_ours(stripped, "b1", record())
    assert not is_ours(replace(stripped, uid="u2"), "b1", record())
    assert not is_ours(stripped, "b1", None)


def test_a_binding_that_moved_writes_first_and_then_removes() -> None:
    seen = Seen(None, (live(place=OTHER),), vault_version=3)
    write, remove = plan(want(), seen, record(place=OTHER))
    assert isinstance(write, Write)
    assert remove == Remove(live(place=OTHER), moved=True)


def test_what_stands_at_the_earlier_place_and_is_not_ours_stays() -> None:
    seen = Seen(None, (live(place=OTHER, uid="u9", managed=False),), vault_version=3)
    assert len(plan(want(), seen, record(place=OTHER))) == 1


@pytest.mark.parametrize("aim", ["revoke", "remove"])
def test_a_revocation_and_a_retirement_remove_ours_only(aim: Literal["revoke", "remove"]) -> None:
    assert plan(want(aim), Seen(live()), record()) == (Remove(live()), Gone())
    assert plan(want(aim), Seen(live(uid="u9", managed=False)), record()) == (Gone(),)
    assert plan(want(aim), Seen(None), record()) == (Gone(),)


def test_a_revocation_takes_the_earlier_place_too() -> None:
    seen = Seen(live(uid="u2"), (live(place=OTHER),))
    steps = plan(want("revoke"), seen, record(place=OTHER))
    assert [type(step) for step in steps] == [Remove, Remove, Gone]


def test_a_finalizer_that_holds_it_is_named() -> None:
    (step,) = plan(want("revoke"), Seen(live(deleting=True, finalizers=("x/hold",))), record())
    assert isinstance(step, Rest)
    assert (step.trouble.reason, "x/hold" in step.trouble.message) == (schema.REASON_FINALIZER, True)


def test_a_retired_binding_that_keeps_only_lets_go() -> None:
    assert plan(want("keep"), Seen(live()), record()) == (Release(live()), Gone())


def test_what_is_listed_is_not_retired() -> None:
    section = SecretsSection(secrets=(entry(), entry(id="b2", revoked=True)))
    retired = [
        Retired(capability="secrets", id="b1", name="db", policy="Remove"),
        Retired(capability="secrets", id="b3", name="x", policy="Keep"),
        Retired(capability="bundles", id="b4", name="y", policy="Remove"),
    ]
    assert {one.id: one.aim for one in wanted(section, retired)} == {
        "b1": "follow",
        "b2": "revoke",
        "b3": "keep",
    }
    assert wanted(None, ()) == ()


lives = st.builds(
    live,
    uid=st.sampled_from(["u1", "u2"]),
    resource_version=st.sampled_from(["10", "11"]),
    version=st.sampled_from([0, 3, 4]),
    binding_id=st.sampled_from(["", "b1", "b2"]),
    managed=st.booleans(),
    deleting=st.booleans(),
)
seens = st.builds(
    Seen,
    live=st.none() | lives,
    earlier=st.lists(lives, max_size=2).map(tuple),
    namespace=st.sampled_from(["There", "Missing", "Terminating"]),
    vault_version=st.sampled_from([0, 3, 4]),
    trouble=st.none() | st.just(troubles.NO_VAULT),
)
remembered = st.none() | st.builds(
    record,
    uid=st.sampled_from(["", "u1"]),
    written=st.sampled_from([0, 1, 2]),
    place=st.sampled_from([PLACE, OTHER]),
)
aims = st.sampled_from(["follow", "revoke", "remove", "keep"])


@given(aims, seens, remembered)
def test_nothing_that_is_not_ours_is_written_or_removed(
    aim: Literal["follow", "revoke", "remove", "keep"], seen: Seen, known: Record | None
) -> None:
    for step in plan(want(aim), seen, known):
        match step:
            case Write() if step.uid:
                assert seen.live
                assert is_ours(seen.live, "b1", known)
            case Write():
                assert seen.live is None
            case Remove() | Release():
                assert is_ours(step.live, "b1", known)


@given(seens, remembered)
def test_only_a_revocation_or_a_retirement_takes_the_bound_secret(seen: Seen, known: Record | None) -> None:
    removed = [step for step in plan(want(), seen, known) if isinstance(step, Remove)]
    assert all(step.moved and step.live in seen.earlier for step in removed)


@given(remembered)
def test_after_a_write_there_is_nothing_left_to_do(known: Record | None) -> None:
    after = live(resource_version="12", version=4)
    done = records.written(want(), known, after, Trouble("True", schema.REASON_SYNCED, ""), NOW, "11")
    assert reason(plan(want(), Seen(after, vault_version=4), done)) == schema.REASON_SYNCED


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=253))
def test_every_name_gives_a_label(name: str) -> None:
    assert len(label_of(name)) <= 63
    assert label_of(name) == name or len(name) > 63


def test_forbidden_names_the_path_and_who_can_allow_it() -> None:
    own = troubles.of_vault(errors.VaultForbidden("no"), entry(), "c1")
    assert own.message == (
        "Vault does not let c1 read secret/main/c1/db; "
        "Vault's owner makes the cluster's entity with `fleetbus cluster vault c1`"
    )
    shared = troubles.of_vault(errors.VaultForbidden("no"), entry(path="shared/registry"), "c1")
    assert "`fleetbus secret share registry`" in shared.message


def test_vault_that_is_away_or_sealed_is_no_failure_but_unknown() -> None:
    for message, expected in (("Vault is sealed", "VaultSealed"), ("timeout", "VaultUnavailable")):
        trouble = troubles.of_vault(errors.VaultUnavailable(message), entry(), "c1")
        assert (trouble.status, trouble.reason, trouble.passing) == ("Unknown", expected, True)


def test_records_survive_their_json() -> None:
    made = {"b1": record(), "b2": records.gone(want("revoke"), record(), NOW, NOW)}
    assert records.from_json(records.as_json(made)) == made
    assert records.from_json(None) == {}
    assert records.from_json({"bindings": {"b1": {"state": {}}}}) == {}
