"""The verbs about who may become a member: a token is admitted, a cluster let in, and who asks is listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from fleetbus.controller.audit import Entry
from fleetbus.controller.decisions import enrolment as decisions
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.views import CLUSTER, identified
from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.enrolment import LATE_S, USERS_GONE_S, AdmittedToken, Enrolment
from fleetbus.schemas.enrolment_api import (
    AdmittedTokenResult,
    ApproveRequest,
    EnrolmentRow,
    EnrolmentsRequest,
    EnrolmentsResult,
    TokenRequest,
)
from fleetbus.schemas.errors import AlreadyExists, NotFound, NotPossible
from fleetbus.schemas.subjects import ClusterId

Result = Mapping[str, object]

_OPEN = frozenset({"token", "waiting", "quarantined"})
"""Outcomes that wait for somebody."""


async def token(desk: Desk, request: Request) -> Result:
    """Admit a token by its public key, and make its user on the bus."""
    asked = TokenRequest.model_validate(parse_json(request.data))
    cluster, issuer, now = ClusterId(asked.realm, asked.name), issuing(desk), desk.clock.now()
    expires_at = now + timedelta(seconds=asked.ttl_s)
    async with desk.enrolments.locks[cluster]:
        record = desk.enrolments.read(cluster)
        _refuse_going(desk, cluster)
        admitted = AdmittedToken(
            id=desk.clock.identifier(),
            key=asked.key,
            by=request.by,
            made_at=now,
            expires_at=expires_at,
            uid=_bound_to(record, asked),
            approve=asked.approve,
            replace=asked.replace,
            labels=asked.labels,
            owner=asked.owner,
        )
        after = decisions.with_token(record, admitted, now)
        late = expires_at + timedelta(seconds=LATE_S)
        jwt = await issuer.token(cluster, asked.key, late)
        certificate = await issuer.certificate(cluster, asked.key, late)
        if not issuer.knows(cluster.realm):
            raise NotFound(
                f"there is no realm `{cluster.realm}`",
                remedy=f"its first cluster's join makes it: --realm {cluster.realm} --fleet-dir DIR",
            )
        message = f"join token {admitted.id}" + (", replaces whoever has the name" if asked.replace else "")
        author = request.author("token", asked.reason)
        await desk.enrolments.write(after, Entry(author, f"cluster/{cluster.name}", message=message))
    return AdmittedTokenResult(
        id=admitted.id,
        jwt=jwt,
        certificate=certificate,
        expires_at=expires_at,
        fleet=desk.known.fleet,
        epoch=desk.term.epoch,
        root=desk.trust.root,
        controller_keys=desk.trust.controller_keys,
        vault=desk.trust.vault,
    ).as_json()


def _refuse_going(desk: Desk, cluster: ClusterId) -> None:
    """What is known of a name goes with its cluster, and a token that is made meanwhile with it. Raises NotPossible."""
    stored = desk.known.document((CLUSTER, cluster.name))
    if stored is not None and stored.deleting is not None and not stored.deleting.stays:
        raise NotPossible(
            f"what is known of cluster {cluster.name} is going", remedy="ask again once it is gone"
        )


def issuing(desk: Desk) -> Issuer:
    """Raises NotPossible."""
    if desk.issuer is None:
        raise NotPossible(
            "this controller has no keys to make clusters' users with",
            remedy="`fleetbus init` writes them into its settings",
        )
    return desk.issuer


def _bound_to(record: Enrolment, asked: TokenRequest) -> str:
    """The only cluster that the token is for: the one that is named, else the one that has the name."""
    member = record.member
    if member is None or asked.replace or not member.uid:
        return asked.uid
    if asked.uid and asked.uid != member.uid:
        raise AlreadyExists(
            f"another cluster has the name `{record.name}`",
            where=f"kube-system {member.uid}",
            remedy="take another name, or give --replace if this one stands in its place",
        )
    return member.uid


async def approve(desk: Desk, request: Request) -> Result:
    """Let the waiting cluster in, or dismiss whoever waits for the name or claims it."""
    asked = ApproveRequest.model_validate(parse_json(request.data))
    cluster = _named(desk, asked.name)
    async with desk.enrolments.locks[cluster]:
        record = desk.enrolments.read(cluster)
        if asked.dismiss:
            after, said = decisions.dismissed(record), "dismissed: its open tokens are withdrawn"
        else:
            after = decisions.approved(record, asked.nkey, request.by)
            said = "approved: it is let in when it asks again"
        author = request.author("dismiss" if asked.dismiss else "approve", asked.reason)
        waiting = record.waiting
        message = f"key {waiting.nkey}, kube-system {waiting.uid}" if waiting else ""
        await desk.enrolments.write(after, Entry(author, f"cluster/{cluster.name}", message=message))
    return {"kind": CLUSTER, "name": cluster.name, "message": said, "generation": 0}


def _named(desk: Desk, name: str) -> ClusterId:
    for record in desk.enrolments.records():
        if record.name == name:
            return record.id
    raise NotFound(f"nobody has a token for the name `{name[:63]}`", remedy="see `fleetbus cluster pending`")


async def enrolments(desk: Desk, request: Request) -> Result:
    """Names with open tokens, with who waits, or with who claims them; of one name whatever there is."""
    asked = EnrolmentsRequest.model_validate(parse_json(request.data))
    now = desk.clock.now()
    rows: list[EnrolmentRow] = []
    for record in _records(desk, asked.name):
        open_ = [one for one in record.tokens if one.expires_at > now and not one.used_by]
        row = _row(record, open_, now)
        if asked.name:
            # Whoever writes Vault's part from it must not have to believe the broker.
            proof = desk.sign(subjects.enrolment(record.id), row.to_bytes()).decode()
            rows.append(row.model_copy(update={"proof": proof}))
        elif row.outcome in _OPEN:
            rows.append(row)
    return EnrolmentsResult(rows=tuple(rows), vault=desk.trust.vault).as_json()


def _records(desk: Desk, name: str) -> Iterator[Enrolment]:
    """All, or those of one name: also of a cluster whose document somebody has applied."""
    stored = desk.known.document((CLUSTER, name)) if name else None
    applied = identified(stored) if stored else None
    for record in desk.enrolments.records(name):
        yield record
        applied = applied if applied != record.id else None
    if applied is not None:
        yield desk.enrolments.read(applied)


def _row(record: Enrolment, open_: list[AdmittedToken], now: datetime) -> EnrolmentRow:
    member, claim = record.member, record.waiting
    outcome, message = "enrolled" if member else "unknown", ""
    if member is None and record.revoked:
        last = record.revoked[-1]
        outcome, message = last.left, f"by {last.by} at {last.at:%Y-%m-%d %H:%M} UTC"
    if record.quarantined:
        outcome, claim = "quarantined", record.quarantined[-1]
        message = words.REASON_NAME_CLAIMED
    elif claim is not None:
        outcome, message = "waiting", words.REASON_WAITING
        if claim.approved_by:
            message = f"approved by {claim.approved_by}"
    elif open_:
        outcome, message = "token", f"made by {open_[-1].by}"
    return EnrolmentRow(
        name=record.name,
        realm=record.realm,
        outcome=outcome,
        uid=claim.uid if claim else "",
        nkey=claim.nkey if claim else "",
        member_uid=member.uid if member else "",
        member_nkey=member.nkey if member else "",
        issuer=member.issuer if member else "",
        service_account_keys=member.service_account_keys if member else (),
        expires_at=max((one.expires_at for one in open_), default=None),
        message=message,
        former_keys=(*record.former, *_lately_revoked(record, now)),
    )


def _lately_revoked(record: Enrolment, now: datetime) -> tuple[str, ...]:
    """Of older ones no user lives but the renewer, which is refused: the bus need not be told again."""
    return tuple(one.nkey for one in record.revoked if one.at > now - timedelta(seconds=USERS_GONE_S))
