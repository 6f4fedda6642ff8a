"""Accounts as claims: a role's template is what the permission functions say, and what is not allowed is not said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.schemas import limits, subjects
from fleetbus.schemas.accounts import (
    AGENT,
    CONTROLLER,
    FLEET,
    OPERATORS,
    SUBSCRIBER,
    SYS,
    SYSTEM,
    Keys,
    account_claims,
    accounts,
    agents_account,
    role_key_name,
    room,
    user_claims,
)
from fleetbus.schemas.errors import DocumentInvalid, NotPermitted
from fleetbus.schemas.roles import ROLES, SUBSCRIBER_OF_TYPES, granted_subjects, granted_types
from fleetbus.schemas.streams import (
    Permissions,
    agent_permissions,
    operator_permissions,
    subscriber_permissions,
    types_permissions,
)
from fleetbus.schemas.subjects import ClusterId

REALMS = {"main": 3, "edge": 0}
ACCOUNTS = {one.name: one for one in accounts(REALMS, 2)}
KEYS = Keys(
    {name: f"A{name}" for name in ACCOUNTS},
    {
        name: f"A{name}"
        for one in ACCOUNTS.values()
        for name in (role_key_name(one.name, role.name) for role in one.roles)
    },
)
NKEYS = ["U" + letter * 55 for letter in "BC"]


def body(name: str, revoked: Mapping[str, int] | None = None) -> Mapping[str, Any]:
    return account_claims(ACCOUNTS[name], KEYS, "O", 1, revoked or {}).body


def expanded(account: str, role: str, *, name: str = "", subject: str = "") -> Permissions:
    """As nats-server fills in a template: `{{name()}}` and `{{subject()}}` of the user's token."""
    scopes = {scope["role"]: scope["template"] for scope in body(account)["signing_keys"]}

    def filled(subjects_: list[str]) -> tuple[str, ...]:
        return tuple(one.replace("{{name()}}", name).replace("{{subject()}}", subject) for one in subjects_)

    template = scopes[role]
    return Permissions(filled(template["pub"]["allow"]), filled(template["sub"]["allow"]))


@given(st.sampled_from(sorted(REALMS)), st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_an_agents_template_is_its_permissions(realm: str, name: str) -> None:
    if name == "all":
        return
    assert expanded(agents_account(realm), AGENT, name=name) == agent_permissions(ClusterId(realm, name))


@pytest.mark.parametrize("nkey", NKEYS)
def test_a_persons_template_is_its_permissions_with_an_inbox_of_its_own(nkey: str) -> None:
    wanted = [(role, operator_permissions(nkey, role)) for role in ROLES]
    for role, permissions in (*wanted, (SUBSCRIBER, subscriber_permissions(nkey))):
        found = expanded(OPERATORS, role, name="ana", subject=nkey)
        assert found == permissions
        assert [one for one in found.subscribe if one.startswith("_INBOX")] == [f"_INBOX_{nkey}.>"]


def test_the_types_of_a_subscriber_are_tags_of_its_token() -> None:
    """As nats-server fills them in: each tag a subject."""
    claims = user_claims(
        NKEYS[0], "team", OPERATORS, SUBSCRIBER_OF_TYPES, KEYS, 1, types=("bundle.*", "secret.synced")
    )
    granted = granted_types(claims)
    template = expanded(OPERATORS, SUBSCRIBER_OF_TYPES, subject=NKEYS[0])
    filled = [
        one.replace("{{tag(types)}}", tag)
        for one in template.subscribe
        for tag in (granted if "{{tag" in one else ("",))
    ]
    assert Permissions(template.publish, tuple(filled)) == types_permissions(NKEYS[0], granted)
    assert filled[1:] == ["fleet.v1.event.*.*.bundle.>", "fleet.v1.event.*.*.secret.synced"]


@pytest.mark.parametrize("pattern", ["bundle.*", "bundle.applied", "bundle.x.*"])
def test_a_subscriber_reads_what_it_is_granted(pattern: str) -> None:
    assert granted_subjects(("secret.>", "bundle.>"), pattern) == (subjects.events_matching(pattern),)
    assert len(granted_subjects(("secret.>", "bundle.>"), "*")) == 2


@pytest.mark.parametrize("pattern", ["secret.*", "bundle.*", "bundle.applied.*", "bundles.applied"])
def test_a_subscriber_reads_no_more_than_it_is_granted(pattern: str) -> None:
    with pytest.raises(NotPermitted):
        granted_subjects(("bundle.applied", "cluster.x.>"), pattern)
    assert granted_subjects((), "*") == ()


@pytest.mark.parametrize(
    "pattern", ["", "*", ">", "bundle.>", "*.applied", "a b", "x.{{name()}}", "Bundle.*"]
)
def test_no_other_pattern_gets_into_a_token(pattern: str) -> None:
    with pytest.raises(DocumentInvalid):
        user_claims(NKEYS[0], "team", OPERATORS, SUBSCRIBER_OF_TYPES, KEYS, 1, types=(pattern,))


def test_only_those_of_fleet_and_sys_may_do_everything_in_their_account() -> None:
    open_ = {
        (name, scope["role"])
        for name in ACCOUNTS
        for scope in body(name)["signing_keys"]
        if "pub" not in scope["template"]
    }
    assert open_ == {(SYS, SYSTEM), (FLEET, CONTROLLER)}


def test_only_fleet_has_jetstream_and_the_others_import_from_it() -> None:
    for name in ACCOUNTS:
        limits = body(name)["limits"]
        assert ("disk_storage" in limits) == (name == FLEET)
        assert limits["disallow_bearer"]
        assert "leaf" not in limits
        assert bool(body(name).get("exports")) == (name in (FLEET, SYS))
        imports = {one["account"] for one in body(name).get("imports", [])}
        assert imports <= {KEYS.accounts[SYS if name == FLEET else FLEET]}
    exported = {(one["type"], one["subject"]) for one in body(FLEET)["exports"]}
    for name in (OPERATORS, *(agents_account(realm) for realm in REALMS)):
        for one in body(name)["imports"]:
            assert any(
                kind == one["type"] and subjects.matches(subject, one["subject"])
                for kind, subject in exported
            ), one


def test_of_the_systems_account_only_who_is_connected_to_a_realm_is_told_and_only_to_fleet() -> None:
    exported = {(one["type"], one["subject"]) for one in body(SYS)["exports"]}
    assert exported == {
        told
        for key in ("AAGENTS_main", "AAGENTS_edge")
        for told in (
            ("stream", f"$SYS.ACCOUNT.{key}.CONNECT"),
            ("stream", f"$SYS.ACCOUNT.{key}.DISCONNECT"),
            ("service", f"$SYS.REQ.ACCOUNT.{key}.CONNZ"),
        )
    }
    imports = {one["local_subject"]: one["subject"] for one in body(FLEET)["imports"]}
    assert imports["fleet.v1.presence.edge.connect"] == "$SYS.ACCOUNT.AAGENTS_edge.CONNECT"
    assert imports["fleet.v1.connections.main"] == "$SYS.REQ.ACCOUNT.AAGENTS_main.CONNZ"
    assert {(one["type"], one["subject"]) for one in body(FLEET)["imports"]} == exported


def test_a_realms_agents_reach_no_other_realm() -> None:
    for one in body(agents_account("edge"))["imports"]:
        assert ".main." not in one["subject"]
        assert one.get("share", False) == (one["type"] == "service")


def test_each_connection_of_a_role_has_the_least_of_what_role_and_account_allow() -> None:
    found = {
        scope["role"]: (scope["template"]["subs"], scope["template"]["payload"])
        for name in (agents_account("main"), OPERATORS)
        for scope in body(name)["signing_keys"]
    }
    assert found[AGENT] == (limits.AGENT_SUBSCRIPTIONS, limits.MAX_PAYLOAD_BYTES)
    assert found[SUBSCRIBER] == found[SUBSCRIBER_OF_TYPES] == (-1, limits.SMALL_PAYLOAD_BYTES)
    assert body(OPERATORS)["limits"]["subs"] == limits.PERSON_SUBSCRIPTIONS
    assert len(agent_permissions(ClusterId("main", "c1")).subscribe) < limits.AGENT_SUBSCRIPTIONS


def test_an_account_has_room_that_doubles() -> None:
    assert [room(count, 8) for count in (0, 8, 9, 17, 1000)] == [8, 8, 16, 32, 1024]
    assert accounts({"main": 1}, 1) == accounts({"main": 64}, 8)
    assert accounts({"main": 65}, 1) != accounts({"main": 64}, 1)


def test_revocations_are_said_when_there_are_some() -> None:
    assert "revocations" not in body(OPERATORS)
    assert body(OPERATORS, {"U2": 2, "U1": 1})["revocations"] == {"U1": 1, "U2": 2}


@pytest.mark.parametrize("name", ["", "*", "a.b", ">", "all", "a*", "{{name()}}", "x y"])
def test_a_name_that_would_be_more_than_one_word_of_a_subject_has_no_token(name: str) -> None:
    with pytest.raises(DocumentInvalid):
        user_claims("U", name, agents_account("main"), AGENT, KEYS, 1)


@pytest.mark.parametrize("nkey", ["", "ana", "U" + "A" * 54 + ">", "SU" + "A" * 54, "U" + "A" * 55 + ".x"])
def test_only_a_key_has_an_inbox(nkey: str) -> None:
    with pytest.raises(DocumentInvalid):
        subjects.personal_inbox(nkey)
