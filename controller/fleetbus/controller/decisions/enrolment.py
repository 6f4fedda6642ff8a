"""Whether who asks for a cluster's credential gets one: a record, a request, and the time → a verdict. Pure.

First it is said why not, by rules in an order that reads aloud; what no rule keeps back is admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.enrolment import (
    LATE_S,
    MAX_CLAIMS,
    MAX_FORMER,
    MAX_TOKENS,
    AdmittedToken,
    Claim,
    CredentialRequest,
    Enrolment,
    Left,
    Member,
    Outcome,
    RevokedKey,
)
from fleetbus.schemas.errors import NotFound, NotPossible


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known beside the name's own record. `alive`: its member is heard. `elsewhere`: the name under which
    this key or this cluster is a member already. `revoked`: that of the keys shown which was revoked once, under
    whatever name."""

    now: datetime
    alive: bool = False
    elsewhere: str = ""
    revoked: RevokedKey | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered, why, and the record after it (the same one when nothing changes)."""

    outcome: Outcome
    reason: str
    message: str
    record: Enrolment


@dataclass(frozen=True, slots=True)
class _Asked:
    record: Enrolment
    token: AdmittedToken | None
    request: CredentialRequest
    seen: Seen

    @property
    def is_member(self) -> bool:
        member = self.record.member
        return member is not None and (member.nkey, member.uid) == (self.request.nkey, self.request.uid)


_No = tuple[Outcome, str, str]
_Rule = Callable[[_Asked], _No | None]


def judge_first(record: Enrolment, token_key: str, request: CredentialRequest, seen: Seen) -> Verdict:
    """The first request of a token, or the same one again: an answer that was lost can be asked for."""
    return _judged(_Asked(record, record.token_of(token_key), request, seen), _FIRST, token_key)


def judge_renewal(record: Enrolment, request: CredentialRequest, seen: Seen) -> Verdict:
    """A member asks for its next credential; by its own key, from its own cluster."""
    return _judged(_Asked(record, None, request, seen), _RENEWAL, "")


def _judged(asked: _Asked, rules: tuple[_Rule, ...], token_key: str) -> Verdict:
    for rule in rules:
        if (no := rule(asked)) is not None:
            outcome, reason, message = no
            return Verdict(outcome, reason, message, _noted(asked, outcome, token_key))
    return Verdict("admitted", words.REASON_ENROLLED, "", _admitted(asked))


# Rules: each gives why not, or None


def _key_was_revoked(asked: _Asked) -> _No | None:
    revoked = asked.seen.revoked
    if revoked is None:
        return None
    message = (
        f"the key {revoked.nkey} was {revoked.left} at {revoked.at:%Y-%m-%d %H:%M:%S} UTC and counts no more"
    )
    return "refused", words.REASON_KEY_REVOKED, f"{message}: a new token goes with a new key"


def _unknown_token(asked: _Asked) -> _No | None:
    if asked.token is None:
        return "refused", words.REASON_TOKEN_UNKNOWN, "no such token is open for this name"
    return None


def _token_used(asked: _Asked) -> _No | None:
    token = asked.token
    if token is None or not token.used_by or (asked.is_member and token.used_by == asked.request.nkey):
        return None
    who = f"by {token.used_by} of the cluster with kube-system {token.used_uid}"
    now = f"{asked.request.nkey} of {asked.request.uid} presents it again"
    return "refused", words.REASON_TOKEN_USED, f"token {token.id} was used {who}; {now}"


def _token_expired(asked: _Asked) -> _No | None:
    token = asked.token
    if token is not None and asked.seen.now >= token.expires_at:
        return (
            "refused",
            words.REASON_TOKEN_EXPIRED,
            f"token {token.id} expired at {token.expires_at:%H:%M:%S} UTC",
        )
    return None


def _other_cluster_has_the_name(asked: _Asked) -> _No | None:
    member, token = asked.record.member, asked.token
    if member is None or asked.is_member or (token and token.replace):
        return None
    # The same cluster, with its former key to show; or its agent has lost it, and nobody else is heard.
    shows_former = asked.request.former == member.nkey or not asked.seen.alive
    if member.uid == asked.request.uid and member.nkey != asked.request.nkey and shows_former:
        return None
    both = (
        f"the name is that of the cluster with kube-system {member.uid} and key {member.nkey}; the cluster with"
        f" kube-system {asked.request.uid} and key {asked.request.nkey} claims it"
    )
    return "quarantined", words.REASON_NAME_CLAIMED, both


def _token_for_another_cluster(asked: _Asked) -> _No | None:
    token = asked.token
    if token is not None and token.uid and token.uid != asked.request.uid:
        message = f"token {token.id} is for the cluster with kube-system {token.uid}, not {asked.request.uid}"
        return "refused", words.REASON_WRONG_CLUSTER, message
    return None


def _known_by_another_name(asked: _Asked) -> _No | None:
    if asked.seen.elsewhere:
        message = f"this cluster is a member by the name `{asked.seen.elsewhere}`: remove it first"
        return "refused", words.REASON_OTHER_NAME, message
    return None


def _waits_for_approval(asked: _Asked) -> _No | None:
    token, waiting = asked.token, asked.record.waiting
    if token is None or not token.approve or asked.is_member:
        return None
    if waiting is None or waiting.token != token.key or _is_of(waiting, asked.request):
        if waiting is not None and waiting.token == token.key and waiting.approved_by:
            return None
        return "waiting", words.REASON_WAITING, "waits for `fleetbus cluster approve`"
    message = (
        f"token {token.id} was presented by {waiting.nkey} of {waiting.uid}, which waits;"
        f" {asked.request.nkey} of {asked.request.uid} presents it as well"
    )
    return "refused", words.REASON_TOKEN_USED, message


def _no_member(asked: _Asked) -> _No | None:
    member = asked.record.member
    if member is None:
        return "refused", words.REASON_NO_MEMBER, "no cluster has this name: join with a new token"
    if member.nkey != asked.request.nkey:
        message = f"the name's key is {member.nkey}, not {asked.request.nkey}: join with a new token"
        return "refused", words.REASON_NO_MEMBER, message
    return None


_FIRST: tuple[_Rule, ...] = (
    _key_was_revoked,
    _unknown_token,
    _token_used,
    _token_expired,
    _other_cluster_has_the_name,
    _token_for_another_cluster,
    _known_by_another_name,
    _waits_for_approval,
)
_RENEWAL: tuple[_Rule, ...] = (_key_was_revoked, _no_member, _other_cluster_has_the_name)


# The record after it


def _noted(asked: _Asked, outcome: Outcome, token_key: str) -> Enrolment:
    request, record = asked.request, asked.record
    claim = Claim(
        nkey=request.nkey,
        uid=request.uid,
        token=token_key,
        at=asked.seen.now,
        agent_version=request.agent_version,
    )
    if outcome == "waiting" and (record.waiting is None or not _is_of(record.waiting, request)):
        return record.model_copy(update={"waiting": claim})
    if outcome == "quarantined" and not any(_is_of(one, request) for one in record.quarantined):
        kept = (*record.quarantined, claim)[-MAX_CLAIMS:]
        return record.model_copy(update={"quarantined": kept})
    return record


def _admitted(asked: _Asked) -> Enrolment:
    request, before, now = asked.request, asked.record.member, asked.seen.now
    member = Member(
        nkey=request.nkey,
        uid=request.uid,
        joined_at=before.joined_at if before and asked.is_member else now,
        issuer=request.issuer,
        service_account_keys=request.service_account_keys,
        agent_version=request.agent_version,
    )
    update: dict[str, Any] = {"member": member}
    if before is not None and before.nkey != member.nkey:
        update["former"] = (*asked.record.former, before.nkey)[-MAX_FORMER:]
    if asked.token is not None:
        used = asked.token.model_copy(
            update={
                "used_at": asked.token.used_at or now,
                "used_by": request.nkey,
                "used_uid": request.uid,
            }
        )
        # Whoever claimed the name without a token that may take it has it, or has lost.
        update |= {"tokens": (used,), "waiting": None, "quarantined": ()}
    return asked.record.model_copy(update=update)


def _is_of(claim: Claim, request: CredentialRequest) -> bool:
    return (claim.nkey, claim.uid) == (request.nkey, request.uid)


# What operators do


def held_by(record: Enrolment, member: Member | None) -> Enrolment:
    """The record with who has the name by the Cluster document. A key that was changed there is a former one."""
    before = record.member
    update: dict[str, Any] = {"member": member}
    if before and member and before.nkey not in (member.nkey, *record.former):
        update["former"] = (*record.former, before.nkey)[-MAX_FORMER:]
    return record.model_copy(update=update)


def with_token(record: Enrolment, token: AdmittedToken, now: datetime) -> Enrolment:
    """The record with one more token; those that have expired are forgotten. Raises NotPossible."""
    known = [one for one in record.tokens if one.expires_at + timedelta(seconds=LATE_S) > now]
    if len([one for one in known if not one.used_by and one.expires_at > now]) >= MAX_TOKENS:
        raise NotPossible(
            f"{MAX_TOKENS} tokens are open for `{record.name}` already",
            remedy="use one, or wait until they expire",
        )
    return record.model_copy(update={"tokens": (*known[-2 * MAX_TOKENS :], token)})


def approved(record: Enrolment, nkey: str, by: str) -> Enrolment:
    """The record with the waiting cluster let in. Raises NotFound, NotPossible (another one waits)."""
    waiting = record.waiting
    if waiting is None:
        raise NotFound(f"no cluster waits under the name `{record.name}`")
    if nkey and waiting.nkey != nkey:
        raise NotPossible(
            f"the one that waits has the key {waiting.nkey}", remedy="look at it, then approve that one"
        )
    return record.model_copy(update={"waiting": waiting.model_copy(update={"approved_by": by})})


def dismissed(record: Enrolment) -> Enrolment:
    """The record without who waits for the name or claims it, and without its open tokens."""
    used = tuple(one for one in record.tokens if one.used_by)
    return record.model_copy(update={"waiting": None, "quarantined": (), "tokens": used})


def left(record: Enrolment, how: Left, now: datetime, by: str) -> Enrolment:
    """The record without its member, whose keys are revoked for ever, and without whoever asks for the name."""
    member, known = record.member, {one.nkey for one in record.revoked}
    uid = member.uid if member else ""
    keys = (*record.former, *([member.nkey] if member else []))
    new = [RevokedKey(nkey=nkey, uid=uid, at=now, by=by, left=how) for nkey in keys if nkey not in known]
    update = {"member": None, "former": (), "revoked": (*_left_as(record, how, now, by), *new)}
    return dismissed(record).model_copy(update=update)


def _left_as(record: Enrolment, how: Left, now: datetime, by: str) -> tuple[RevokedKey, ...]:
    """The keys that are revoked already; of the last that left in peace it can be said later that it is revoked."""
    last = record.revoked[-1] if record.revoked else None
    if record.member is not None or last is None or (how, last.left) != ("revoked", "retired"):
        return record.revoked
    now_revoked = {"left": how, "at": now, "by": by}
    return tuple(one.model_copy(update=now_revoked) if one.at == last.at else one for one in record.revoked)


def spec_of(record: Enrolment, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The spec of the member's Cluster document; what its owner has written of the same cluster stays."""
    member = record.member
    assert member is not None
    kept = dict(before or {})
    if kept.get("uid") != member.uid or kept.get("key") in {one.nkey for one in record.revoked}:
        # Its part in Vault was another cluster's, or went when it left.
        kept.pop("vaultEntity", None)
    owner = record.tokens[-1].owner if record.tokens else ""
    return {
        **kept,
        **({"owner": owner} if owner else {}),
        "realm": record.realm,
        "key": member.nkey,
        "uid": member.uid,
    }
