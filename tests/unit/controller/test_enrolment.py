"""Who becomes a member: the decision by tables, and what holds however requests, times and tokens come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetbus.controller.decisions.enrolment import (
    Seen,
    approved,
    dismissed,
    held_by,
    judge_first,
    judge_renewal,
    left,
    spec_of,
    with_token,
)
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.enrolment import (
    MAX_CLAIMS,
    MAX_TOKENS,
    AdmittedToken,
    CredentialRequest,
    Enrolment,
    Member,
    RevokedKey,
)
from fleetbus.schemas.errors import NotFound, NotPossible
from fleetbus.schemas.nkeys import Kind, nkey_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
A, B, C = (nkey_of(bytes([n]) * 32, Kind.USER) for n in (1, 2, 3))
TOKEN, OTHER = "token-key", "other-key"


def token(**changes: object) -> AdmittedToken:
    given_ = {"id": "t1", "key": TOKEN, "by": "ana", "made_at": NOW, "expires_at": NOW + timedelta(hours=1)}
    return AdmittedToken.model_validate({**given_, **changes})


def record(*tokens: AdmittedToken, member: Member | None = None) -> Enrolment:
    return Enrolment(realm="main", name="new", tokens=tokens, member=member)


def member(nkey: str = A, uid: str = "one", **changes: object) -> Member:
    return Member.model_validate({"nkey": nkey, "uid": uid, "joined_at": NOW, **changes})


def revoked(nkey: str = A) -> RevokedKey:
    return RevokedKey(nkey=nkey, uid="one", at=NOW, by="ana")


def request(nkey: str = A, uid: str = "one") -> CredentialRequest:
    return CredentialRequest(fleet="demo", nkey=nkey, uid=uid, nonce="12345678")


@pytest.mark.parametrize(
    ("before", "key", "asked", "seen", "expected"),
    [
        (record(token()), TOKEN, request(), Seen(NOW), words.REASON_ENROLLED),
        (record(), TOKEN, request(), Seen(NOW), words.REASON_TOKEN_UNKNOWN),
        (record(token()), OTHER, request(), Seen(NOW), words.REASON_TOKEN_UNKNOWN),
        (record(token()), TOKEN, request(), Seen(NOW + timedelta(hours=1)), words.REASON_TOKEN_EXPIRED),
        (record(token(uid="two")), TOKEN, request(), Seen(NOW), words.REASON_WRONG_CLUSTER),
        (record(token()), TOKEN, request(), Seen(NOW, elsewhere="old"), words.REASON_OTHER_NAME),
        (record(token(approve=True)), TOKEN, request(), Seen(NOW), words.REASON_WAITING),
        # Somebody has the name.
        (record(token(), member=member(B, "two")), TOKEN, request(), Seen(NOW), words.REASON_NAME_CLAIMED),
        (
            record(token(), member=member(B)),
            TOKEN,
            request(),
            Seen(NOW, alive=True),
            words.REASON_NAME_CLAIMED,
        ),
        (record(token(), member=member(B)), TOKEN, request(), Seen(NOW), words.REASON_ENROLLED),
        (record(token(), member=member(A, "two")), TOKEN, request(), Seen(NOW), words.REASON_NAME_CLAIMED),
        (record(token(), member=member()), TOKEN, request(), Seen(NOW, alive=True), words.REASON_ENROLLED),
        (
            record(token(replace=True), member=member(B, "two")),
            TOKEN,
            request(),
            Seen(NOW, alive=True),
            words.REASON_ENROLLED,
        ),
        # A key that was revoked once, whoever has the name now.
        (record(token()), TOKEN, request(), Seen(NOW, revoked=revoked()), words.REASON_KEY_REVOKED),
        (record(), OTHER, request(), Seen(NOW, revoked=revoked()), words.REASON_KEY_REVOKED),
        (
            record(token(replace=True), member=member()),
            TOKEN,
            request(),
            Seen(NOW, revoked=revoked()),
            words.REASON_KEY_REVOKED,
        ),
    ],
)
def test_the_first_request(
    before: Enrolment, key: str, asked: CredentialRequest, seen: Seen, expected: str
) -> None:
    verdict = judge_first(before, key, asked, seen)
    assert verdict.reason == expected
    admitted = verdict.outcome == "admitted"
    assert admitted == (expected == words.REASON_ENROLLED)
    if admitted:
        after = verdict.record
        assert after.member is not None
        assert (after.member.nkey, after.member.uid) == (asked.nkey, asked.uid)
        assert [one.used_by for one in after.tokens] == [asked.nkey]
    else:
        assert verdict.record.member == before.member
        assert verdict.record.tokens == before.tokens


def test_a_used_token_answers_its_own_cluster_again_and_nobody_else() -> None:
    used = judge_first(record(token()), TOKEN, request(), Seen(NOW)).record
    assert judge_first(used, TOKEN, request(), Seen(NOW)).outcome == "admitted"
    for nkey, uid in ((B, "one"), (A, "two"), (B, "two")):
        again = judge_first(used, TOKEN, request(nkey, uid), Seen(NOW))
        assert (again.outcome, again.reason) == ("refused", words.REASON_TOKEN_USED)
        assert A in again.message
        assert nkey in again.message


def test_approval_is_of_the_one_that_waits() -> None:
    waiting = judge_first(record(token(approve=True)), TOKEN, request(), Seen(NOW)).record
    assert judge_first(waiting, TOKEN, request(), Seen(NOW)).outcome == "waiting"
    assert judge_first(waiting, TOKEN, request(B, "two"), Seen(NOW)).reason == words.REASON_TOKEN_USED
    with pytest.raises(NotPossible):
        approved(waiting, B, "ana")
    with pytest.raises(NotFound):
        approved(record(), "", "ana")
    let_in = approved(waiting, A, "ana")
    assert judge_first(let_in, TOKEN, request(B, "two"), Seen(NOW)).outcome == "refused"
    assert judge_first(let_in, TOKEN, request(), Seen(NOW)).outcome == "admitted"
    turned_away = dismissed(waiting)
    assert (turned_away.waiting, turned_away.tokens) == (None, ())
    assert judge_first(turned_away, TOKEN, request(), Seen(NOW)).reason == words.REASON_TOKEN_UNKNOWN


@pytest.mark.parametrize(
    ("who", "asked", "outcome"),
    [
        (None, request(), "refused"),
        (member(), request(), "admitted"),
        (member(), request(B), "refused"),
        (member(), request(A, "two"), "quarantined"),
    ],
)
def test_a_renewal(who: Member | None, asked: CredentialRequest, outcome: str) -> None:
    verdict = judge_renewal(record(member=who), asked, Seen(NOW, alive=True))
    assert verdict.outcome == outcome
    if outcome == "admitted":
        assert verdict.record == record(member=who)


def test_a_revoked_key_renews_nothing_and_is_named() -> None:
    verdict = judge_renewal(record(member=member()), request(), Seen(NOW, revoked=revoked()))
    assert (verdict.outcome, verdict.reason) == ("refused", words.REASON_KEY_REVOKED)
    assert A in verdict.message


def test_who_leaves_takes_every_key_that_the_name_had_and_its_open_tokens_along() -> None:
    joined = judge_first(record(token()), TOKEN, request(), Seen(NOW)).record
    with_new_key = judge_first(
        with_token(joined, token(id="t2", key=OTHER), NOW),
        OTHER,
        request(B).model_copy(update={"former": A}),
        Seen(NOW),
    ).record
    assert with_new_key.former == (A,)
    waiting = with_token(with_new_key, token(id="t3", key="open"), NOW)
    gone = left(waiting, "revoked", NOW, "ana")
    assert (gone.member, gone.former) == (None, ())
    assert [(one.nkey, one.uid, one.left, one.by) for one in gone.revoked] == [
        (A, "one", "revoked", "ana"),
        (B, "one", "revoked", "ana"),
    ]
    assert [one.key for one in gone.tokens] == [OTHER]
    assert left(gone, "retired", NOW + timedelta(days=1), "bea") == gone


def test_a_name_whose_cluster_left_is_free_for_the_next_and_its_part_in_vault_is_not_taken_over() -> None:
    before = {"key": A, "uid": "one", "vaultEntity": "e1", "owner": "ops"}
    gone = left(record(member=member()), "retired", NOW, "ana")
    back = judge_first(with_token(gone, token(), NOW), TOKEN, request(B), Seen(NOW)).record
    assert back.revoked == gone.revoked
    assert spec_of(back, before) == {"key": B, "uid": "one", "owner": "ops", "realm": "main"}


def test_tokens_and_claims_are_bounded_and_what_has_expired_is_forgotten() -> None:
    full = record()
    for number in range(MAX_TOKENS):
        full = with_token(full, token(id=f"t{number}", key=f"k{number}"), NOW)
    with pytest.raises(NotPossible):
        with_token(full, token(key="one more"), NOW)
    assert len(with_token(full, token(key="later"), NOW + timedelta(hours=26)).tokens) == 1
    claimed = record(token(), member=member())
    for number in range(MAX_CLAIMS + 3):
        claimed = judge_first(claimed, TOKEN, request(B, f"u{number}"), Seen(NOW)).record
    assert len(claimed.quarantined) == MAX_CLAIMS


def test_what_its_owner_wrote_of_the_same_cluster_stays() -> None:
    before = {"realm": "main", "key": B, "uid": "one", "vaultEntity": "e", "description": "kept"}
    assert spec_of(record(member=member()), before) == {**before, "key": A}
    assert "vaultEntity" not in spec_of(record(member=member(A, "two")), before)


def test_a_key_that_was_changed_in_the_document_is_a_former_one() -> None:
    before = record(member=member(A))
    assert held_by(before, member(A)) == before
    after = held_by(before, member(B))
    assert (after.member, after.former) == (member(B), (A,))
    assert held_by(after.model_copy(update={"member": member(A)}), member(B)).former == (A,)
    assert held_by(before, None).former == ()
    gone = left(after, "revoked", NOW, "ana")
    assert {one.nkey for one in gone.revoked} == {A, B}


def test_who_left_in_peace_last_can_be_said_to_be_revoked_later() -> None:
    first = left(record(member=member(A)), "retired", NOW, "ana")
    later = NOW + timedelta(days=1)
    second = left(first.model_copy(update={"member": member(B)}), "retired", later, "ana")
    revoked_ = left(second, "revoked", later + timedelta(hours=1), "bea")
    assert [(one.nkey, one.left, one.by) for one in revoked_.revoked] == [
        (A, "retired", "ana"),
        (B, "revoked", "bea"),
    ]
    assert left(revoked_, "retired", NOW, "eve") == revoked_


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["first", "renew", "token", "approve"]),
        st.sampled_from([A, B, C]),
        st.sampled_from(["one", "two"]),
        st.booleans(),
        st.booleans(),
        st.integers(0, 90),
    ),
    max_size=25,
)


@given(STEPS)
def test_a_name_changes_hands_only_by_a_token_that_may(
    steps: list[tuple[str, str, str, bool, bool, int]],
) -> None:
    """No order of requests takes a living member's name without a token that replaces it, nor uses a token twice."""
    current, now, keys = record(), NOW, 0
    for what, nkey, uid, flag, alive, minutes in steps:
        now += timedelta(minutes=minutes)
        before = current
        if what == "token":
            keys += 1
            made = token(
                id=f"t{keys}",
                key=f"k{keys}",
                replace=flag,
                approve=alive,
                expires_at=now + timedelta(hours=1),
            )
            try:
                current = with_token(current, made, now)
            except NotPossible:
                continue
        elif what == "approve" and current.waiting:
            current = approved(current, "", "ana")
        elif what == "renew":
            current = judge_renewal(current, request(nkey, uid), Seen(now, alive)).record
            assert current.tokens == before.tokens
            if current.member is not None:
                assert before.member is not None
                assert current.member.nkey == before.member.nkey
                assert current.member.uid == before.member.uid
        elif what == "first":
            key = current.tokens[-1].key if current.tokens else "none"
            verdict = judge_first(current, key, request(nkey, uid), Seen(now, alive))
            current, used = verdict.record, before.token_of(key)
            if verdict.outcome != "admitted":
                assert current.member == before.member
                continue
            assert used is not None
            assert now < used.expires_at
            assert used.used_by in ("", nkey)
            was = before.member
            if was is not None and (was.nkey, was.uid) != (nkey, uid):
                assert used.replace or (was.uid == uid and not alive)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["first", "renew", "token", "leave"]),
            st.sampled_from([A, B, C]),
            st.sampled_from(["", A, B]),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_a_key_that_left_is_never_a_members_again(steps: list[tuple[str, str, str, bool]]) -> None:
    """Whatever tokens are made and whichever key is shown as the former one."""
    current, keys = record(), 0
    for what, nkey, former, replaces in steps:
        before = current
        shown = request(nkey).model_copy(update={"former": former})
        known = {one.nkey: one for one in current.revoked}
        seen = Seen(NOW, alive=replaces, revoked=known.get(nkey) or known.get(former))
        if what == "token" and len(current.tokens) < MAX_TOKENS:
            keys += 1
            current = with_token(current, token(id=f"t{keys}", key=f"k{keys}", replace=replaces), NOW)
        elif what == "leave":
            current = left(current, "revoked", NOW, "ana")
            assert before.member is None or before.member.nkey in {one.nkey for one in current.revoked}
        elif what == "renew":
            current = judge_renewal(current, shown, seen).record
        elif what == "first":
            key = current.tokens[-1].key if current.tokens else "none"
            current = judge_first(current, key, shown, seen).record
        assert set(before.revoked) <= set(current.revoked)
        assert current.member is None or current.member.nkey not in known
