"""Enough approvers, of exactly this, now, and once: in every mixture of approvals that Hypothesis finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from fleetbus.agent.approvals import (
    SEALED,
    Memory,
    Rules,
    agreed_prunes,
    begun,
    enough,
    given,
    judge_commands,
    judge_head,
    parse_memory,
    parse_rules,
)
from fleetbus.agent.ports import Identity
from fleetbus.schemas.approvals import (
    COMMAND,
    PRUNE,
    Approval,
    ApprovedCluster,
    command_digest,
)
from fleetbus.schemas.desired import Command, Head
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.subjects import ClusterId
from tests.approvers import ANA, BEN, CYD, EVE, approval, here, protection, signed

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ME = Identity("test", ClusterId("main", "prod-us"), "uid-1")
OTHER = Identity("test", ClusterId("main", "dev-eu"), "uid-2")
OLD, NEW = "0" * 64, "1" * 64
RULES = parse_rules(protection(2)["spec"])
AT = Memory(RULES, turn=7, set=OLD)


def head(set_: str = NEW, *approvals: str) -> Head:
    return Head(
        fleet="test",
        cluster="uid-1",
        epoch=1,
        serial=1,
        issued_at=NOW,
        not_after=NOW + timedelta(days=1),
        set=set_,
        approvals=approvals or None,
    )


def of_new(**fields: Any) -> Approval:
    where = ApprovedCluster.model_validate(
        {"cluster": "main/prod-us", "uid": "uid-1", "turn": 7, "before": OLD, **fields.pop("here", {})}
    )
    return approval(fields.pop("digest", NEW), NOW, where, **fields)


def judged(envelopes: Sequence[str], memory: Memory = AT, told: Head | None = None) -> Memory:
    told = told or head()
    return judge_head(told, "d", given(envelopes, memory.rules, ME, NOW), memory, NOW).memory


WRONG = {
    "another set": of_new(digest="2" * 64),
    "another cluster": of_new(here={"cluster": "main/dev-eu"}),
    "another realm": of_new(here={"cluster": "eu/prod-us"}),
    "a copy of the cluster": of_new(here={"uid": "uid-2"}),
    "another fleet": of_new(fleet="other"),
    "an earlier turn": of_new(here={"turn": 6}),
    "a change from another set": of_new(here={"before": "3" * 64}),
    "a prune": of_new(kind=PRUNE),
    "a command": of_new(kind=COMMAND, command="c1"),
    "expired": of_new(issued_at=NOW - timedelta(hours=2), expires_at=NOW),
    "not yet": of_new(issued_at=NOW + timedelta(minutes=6)),
    "valid for too long": of_new(expires_at=NOW + timedelta(days=7, seconds=1)),
    "of a later contract": of_new(contract=2),
}


def test_two_of_three_are_enough_and_one_is_not() -> None:
    assert judged([signed(of_new(), ANA)]).set == OLD
    after = judged([signed(of_new(), ANA), signed(of_new(reason="mine"), BEN)])
    assert after.set == NEW
    assert after.turn > AT.turn


def test_two_signatures_under_one_approval_count_as_two() -> None:
    assert judged([signed(of_new(), ANA, CYD)]).set == NEW


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_approval_of_anything_else_does_not_count(wrong: Approval) -> None:
    assert judged([signed(of_new(), ANA), signed(wrong, BEN)]).set == OLD


def test_one_approver_counts_once_and_a_stranger_never() -> None:
    mine = [signed(of_new(reason=str(number)), ANA) for number in range(3)]
    assert judged([*mine, signed(of_new(), EVE), "fleetbus1 x", ""]).set == OLD


def test_a_signature_that_was_taken_from_another_approval_does_not_count() -> None:
    line = signed(of_new(), BEN).split("\n")[0]
    body = signed(of_new(reason="other"), BEN).split("\n")[1]
    assert judged([signed(of_new(), ANA), f"{line}\n{body}"]).set == OLD


def test_what_was_approved_once_is_not_approved_again_after_something_else() -> None:
    there = [signed(of_new(), ANA, BEN)]
    at_new = judged(there)
    back = approval(OLD, NOW, here(ME, turn=at_new.turn, before=NEW))
    at_old = judged([signed(back, ANA, BEN)], at_new, head(OLD))
    assert at_old.set == OLD
    assert judged(there, at_old).set == OLD


def test_an_issue_of_the_same_set_needs_nothing_and_a_former_set_needs_approvals() -> None:
    assert judged([], AT, head(OLD)) == AT
    assert judged([], replace(AT, set=NEW), head(OLD)).set == NEW


def test_what_had_been_accepted_before_the_protection_counts() -> None:
    memory = begun(RULES, "", "digest of its head", NOW)
    found = judge_head(head(), "digest of its head", [], memory, NOW).memory
    assert found.set == NEW
    assert judge_head(head(), "of another head", [], memory, NOW).memory.set == ""


keys = st.sampled_from([ANA, BEN, CYD, EVE])
contents = st.sampled_from([of_new(), of_new(reason="again"), *WRONG.values()])


@drawn(st.lists(st.tuples(contents, keys), max_size=8), st.integers(1, 3))
def test_never_with_fewer_than_k_approvers_of_exactly_this(
    cast: list[tuple[Approval, Any]], required: int
) -> None:
    memory = replace(AT, rules=Rules(required, RULES.approvers))
    right = {public_key(key) for one, key in cast if one not in WRONG.values()} & RULES.approvers.keys()
    after = judged([signed(one, key) for one, key in cast], memory)
    assert (after.set == NEW) == (len(right) >= required)


@drawn(st.lists(st.tuples(st.sampled_from([ANA, BEN, CYD]), st.integers(0, 9)), max_size=6))
def test_so_many_may_go_as_k_have_agreed_to(cast: list[tuple[Any, int]]) -> None:
    envelopes = [
        signed(of_new(kind=PRUNE, digest=OLD, here={"prunes": {"b": count}}), key) for key, count in cast
    ]
    agreed = judged(envelopes, AT, head(OLD)).prunes.get("b", 0)
    for more in range(1, 10):
        willing = {public_key(key) for key, count in cast if count >= more}
        assert (agreed >= more) == (len(willing) >= 2)


def test_prunes_are_agreed_with_the_set_and_end_with_it() -> None:
    with_prunes = of_new(here={"prunes": {"b": 4}})
    after = judged([signed(with_prunes, ANA), signed(of_new(here={"prunes": {"b": 3}}), BEN)])
    assert after.prunes == {"b": 3}
    next_ = approval("2" * 64, NOW, here(ME, turn=after.turn, before=NEW))
    assert judged([signed(next_, ANA, BEN)], after, head("2" * 64)).prunes == {}


def test_a_sealed_cluster_accepts_nothing() -> None:
    assert not enough(given([signed(of_new(), ANA, BEN, CYD)], SEALED, ME, NOW), SEALED)
    assert agreed_prunes([], 1) == {}


def command(id_: str = "c1", **fields: Any) -> Command:
    given_ = {"id": id_, "driver": "job", "issued_at": NOW, "deadline": NOW + timedelta(hours=1), **fields}
    return Command.model_validate(given_)


def of_command(one: Command, **fields: Any) -> Approval:
    return approval(command_digest(one), NOW, here(ME), kind=COMMAND, command=one.id, **fields)


def commands_judged(memory: Memory, envelopes: Sequence[str], *commands: Command, now: datetime = NOW) -> Any:
    return judge_commands(commands, given(envelopes, memory.rules, ME, now), memory, now)


def test_a_command_starts_with_its_approvals_and_stays_accepted_after_they_expired() -> None:
    one = command(arguments={"image": "a:1"})
    assert commands_judged(AT, [signed(of_command(one), ANA)], one).waiting.keys() == {"c1"}
    after = commands_judged(AT, [signed(of_command(one), ANA, BEN)], one)
    assert not after.waiting
    later = commands_judged(after.memory, [], one, now=NOW + timedelta(days=1))
    assert not later.waiting


def test_a_command_that_differs_in_anything_is_another() -> None:
    one = command(arguments={"image": "a:1"})
    approved = [signed(of_command(one), ANA, BEN)]
    for other in (
        command(arguments={"image": "evil:1"}),
        command("c2", arguments={"image": "a:1"}),
        command(arguments={"image": "a:1"}, deadline=NOW + timedelta(hours=2)),
    ):
        assert commands_judged(AT, approved, other).waiting.keys() == {other.id}


def test_of_an_id_that_stands_twice_the_first_is_judged() -> None:
    one, evil = command(arguments={"image": "a:1"}), command(arguments={"image": "evil:1"})
    assert commands_judged(AT, [signed(of_command(one), ANA, BEN)], evil, one).waiting.keys() == {"c1"}


def test_a_command_that_left_the_list_does_not_come_back() -> None:
    one = command()
    approved = [signed(of_command(one), ANA, BEN)]
    gone = commands_judged(commands_judged(AT, approved, one).memory, approved)
    again = commands_judged(gone.memory, approved, one)
    assert again.waiting.keys() == again.used_up == {"c1"}
    long_after = commands_judged(gone.memory, [], now=NOW + timedelta(hours=2))
    assert long_after.memory.commands == {}


def test_what_has_begun_or_ended_waits_for_nobody() -> None:
    one = command()
    assert not judge_commands([one], [], AT, NOW, begun={"c1"}).waiting


def test_cancelling_needs_nobody() -> None:
    assert not commands_judged(AT, [], command(cancelled=True)).waiting


def test_the_memory_outlives_the_process_and_what_cannot_be_read_stays_sealed() -> None:
    one = command()
    memory = commands_judged(replace(AT, prunes={"b": 1}), [signed(of_command(one), ANA, BEN)], one).memory
    assert parse_memory(memory.kept()) == memory
    assert parse_memory(None) is None
    assert parse_memory({"required": 2}) == Memory(SEALED)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"required": -1},
        {"required": "2"},
        {"required": True},
        {"required": 1},
        {"required": 4, "approvers": protection(2)["spec"]["approvers"]},
        {"required": 1, "approvers": [{"name": "ana", "key": "UABC"}]},
        {"required": 1, "approvers": [{"name": "", "key": public_key(ANA)}]},
        {"required": 1, "approvers": [{"name": "a\x1b[2J", "key": public_key(ANA)}]},
        {"required": 1, "approvers": [{"name": "ana", "key": public_key(ANA)}] * 2},
        {"required": 1, "approvers": [{"name": "ana", "key": public_key(key)} for key in (ANA, BEN)]},
        {"required": 1, "approvers": "ana"},
    ],
)
def test_a_malformed_object_is_no_rule(spec: Any) -> None:
    with pytest.raises(SettingsInvalid):
        parse_rules(spec)


def test_required_zero_lifts_it() -> None:
    assert parse_rules({"required": 0}).required == 0
