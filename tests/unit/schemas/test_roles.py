"""Roles of operators: what suffices for what, and what a refusal says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fleetbus.schemas import api
from fleetbus.schemas.accounts import OPERATORS, Keys, role_key_name, user_claims
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.roles import NEEDS, ROLES, bus_refusal, refusal, suffices, told_role, verbs_of


def test_each_role_may_all_that_the_one_before_may_and_something_more() -> None:
    for less, more in pairwise(ROLES):
        assert set(verbs_of(less)) < set(verbs_of(more))
    assert verbs_of(ROLES[-1]) == api.VERBS


@pytest.mark.parametrize("role", ["", "subscriber", "Admin", "root", "*"])
def test_no_other_word_is_a_role(role: str) -> None:
    assert not any(suffices(role, needed) for needed in ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_token_says_its_role(role: str) -> None:
    keys = Keys({OPERATORS: "A"}, {role_key_name(OPERATORS, role): "AR"})
    assert told_role(user_claims("U", "ana", OPERATORS, role, keys, 1)) == role


@pytest.mark.parametrize("tags", [None, [], "role:admin", {"role:admin": 1}, [7, None], ["roles:admin"]])
def test_a_token_without_a_role_says_none(tags: object) -> None:
    assert told_role(Claims("user", "U", "A", "ana", 1, body={"tags": tags})) == ""


def test_a_refusal_says_what_is_needed_and_who_one_is() -> None:
    assert NEEDS["release"] == "approver"
    told = bus_refusal("release", "ben", "operator")
    assert told.sentence() == refusal("`release`", "approver", "ben", "operator").sentence()
    assert told.message == "`release` needs the role approver; ben is operator"
    assert "--role approver" in told.remedy
    nobody = bus_refusal("list", "", "")
    assert nobody.message == "`list` needs the role viewer; whoever asks is of no role"


def test_a_bus_that_refuses_what_the_role_may_is_another_matter() -> None:
    assert "doctor" in bus_refusal("list", "ben", "viewer").remedy
