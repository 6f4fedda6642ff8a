"""The door for clusters: a token's first request, and each renewal. What is given, and what is refused and told.

Who asks is the key that the bus's server has verified. It must be the token's, or the member's; the request is
signed besides, so that whoever owns the broker cannot ask in a cluster's name, nor answer in the controller's.
"""

from __future__ import annotations

import structlog

from fleetbus.controller.audit import Author, Entry
from fleetbus.controller.decisions import enrolment as decisions
from fleetbus.controller.decisions.enrolment import Seen, Verdict
from fleetbus.controller.desk import Desk
from fleetbus.controller.doors.admitting import issuing
from fleetbus.controller.doors.api import IMPORTED_REPLY
from fleetbus.controller.doors.directory import FLEET_UID
from fleetbus.controller.presence import requester
from fleetbus.controller.views import CLUSTER, FLEET_STATUS
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.capabilities.clusters import Cluster
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.enrolment import CredentialAnswer, CredentialRequest, verified_request
from fleetbus.schemas.errors import (
    EnrolmentRefused,
    MessageMalformed,
    NotPermitted,
    Transient,
    WrongAddressee,
)
from fleetbus.schemas.events import Happened
from fleetbus.schemas.subjects import ClusterId

SERVICE_NAME = "fleetbus-enrolment"
DESCRIPTION = "Clusters become members of the fleet, and renew their credentials"
ENROL, RENEW = "enrol", "renew"

WAIT_S = 10.0
"""After so long a cluster that waits asks again; the agent spreads it."""
QUARANTINED_S = 300.0
MOST_TOLD = 16
"""Refusals of one key on the bus that each leave an event; what comes after is counted in the audit."""
MOST_KEYS = 4096

_log = structlog.get_logger("controller")


async def serve(desk: Desk) -> None:
    """Answer until cancelled."""
    door = _Door(desk)
    endpoints = {ENROL: subjects.ALL_ENROLS, RENEW: subjects.ALL_RENEWALS}
    await desk.bus.serve(SERVICE_NAME, desk.version, DESCRIPTION, endpoints, door.answer)


class _Door:
    """One term's. It remembers which refusals have been told."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._told: dict[str, set[str]] = {}

    async def answer(self, endpoint: str, message: Message) -> bytes:
        """A signed answer, also when it says no. Raises errors of the tree for what is no request."""
        desk = self._desk
        user = requester(message) if message.reply.startswith(IMPORTED_REPLY) else ""
        cluster = subjects.parse_cluster(message.subject, endpoint)
        if not user:
            raise NotPermitted("the request did not come from a cluster's account")
        if cluster is None:
            raise MessageMalformed("no cluster's name in the subject")
        request = verified_request(message.subject, message.data, user if endpoint == ENROL else "")
        if request.fleet != desk.known.fleet:
            raise WrongAddressee("the request is for another fleet")
        if endpoint == RENEW and user != request.nkey:
            raise NotPermitted("the one who asks is not the one who signed")
        async with desk.enrolments.locks[cluster]:
            verdict = self._judge(endpoint, cluster, user, request)
            answer = await self._settle(endpoint, cluster, user, request, verdict)
        return desk.sign(message.subject, answer.to_bytes())

    def _judge(self, endpoint: str, cluster: ClusterId, user: str, request: CredentialRequest) -> Verdict:
        desk = self._desk
        view = desk.known.cluster(cluster.name)
        record = desk.enrolments.read(cluster)
        seen = Seen(
            desk.clock.now(),
            alive=view is not None and (view.connected or view.heard),
            elsewhere=desk.enrolments.elsewhere(cluster, request.nkey, request.uid),
            revoked=desk.enrolments.revoked(request.nkey, request.former),
        )
        if endpoint == ENROL:
            return decisions.judge_first(record, user, request, seen)
        return decisions.judge_renewal(record, request, seen)

    async def _settle(
        self, endpoint: str, cluster: ClusterId, user: str, request: CredentialRequest, verdict: Verdict
    ) -> CredentialAnswer:
        """Write what was decided, then tell it; who is admitted gets what it came for."""
        desk, record = self._desk, verdict.record
        answer = CredentialAnswer(
            nonce=request.nonce, outcome=verdict.outcome, reason=verdict.reason, message=verdict.message
        )
        if verdict.outcome != "admitted":
            if record != desk.enrolments.read(cluster):
                await desk.enrolments.write(record)
            await self._tell(cluster, user, request, verdict)
            waits_s = {"waiting": WAIT_S, "quarantined": QUARANTINED_S}.get(verdict.outcome, 0.0)
            return answer.model_copy(update={"again_in_s": waits_s})
        made, renewer = await issuing(desk).member(cluster, request.nkey)
        certificate = await issuing(desk).certificate(cluster, request.nkey)
        await self._admit(endpoint, cluster, user, verdict)
        return answer.model_copy(
            update={
                "user": made,
                "renewer": renewer,
                "certificate": certificate,
                "epoch": desk.term.epoch,
                "controller_keys": desk.trust.controller_keys,
            }
        )

    async def _admit(self, endpoint: str, cluster: ClusterId, user: str, verdict: Verdict) -> None:
        desk, record = self._desk, verdict.record
        before = desk.enrolments.read(cluster)
        if record == before:
            return
        if endpoint == RENEW:
            await desk.enrolments.write(record)
            return
        member, token = record.member, record.token_of(user)
        assert member is not None
        assert token is not None
        stored = desk.known.document((CLUSTER, cluster.name))
        document = Cluster.model_validate(
            {
                "apiVersion": API_VERSION,
                "kind": CLUSTER,
                "metadata": {
                    "name": cluster.name,
                    "labels": {**(stored.labels if stored else {}), **token.labels},
                    "annotations": stored.annotations if stored else {},
                },
                "spec": decisions.spec_of(record, stored.spec if stored else None),
            }
        )
        author = Author(f"cluster/{cluster.name}", "enrol", f"join token {token.id} of {token.by}", user)
        entry = Entry(
            author, f"cluster/{cluster.name}", message=f"key {member.nkey}, kube-system {member.uid}"
        )
        beside = desk.enrolments.beside(record, entry)
        await desk.documents.apply([document], author, beside=beside, joining=True)
        if before.member != member:
            await self._happen(
                cluster,
                words.EVENT_ENROLLED,
                words.REASON_ENROLLED,
                f"key {member.nkey}, kube-system {member.uid}",
            )

    async def _tell(
        self, cluster: ClusterId, user: str, request: CredentialRequest, verdict: Verdict
    ) -> None:
        """An event of each refusal, waiting and quarantine, once; the audit counts refusals."""
        types = {"waiting": words.EVENT_ENROLMENT_WAITING, "quarantined": words.EVENT_QUARANTINED}
        type_ = types.get(verdict.outcome, words.EVENT_ENROLMENT_REFUSED)
        message = verdict.message
        if verdict.outcome == "waiting":
            message = f"key {request.nkey}, kube-system {request.uid}: {message}"
        if verdict.outcome != "waiting":
            author = Author(f"cluster/{cluster.name}", "enrol", key=user)
            await self._desk.refusals.add(author, f"cluster/{cluster.name}", EnrolmentRefused(message))
        told = self._told.setdefault(user if len(self._told) < MOST_KEYS or user in self._told else "", set())
        what = f"{verdict.reason} {request.nkey} {request.uid}"
        if what in told or len(told) >= MOST_TOLD:
            return
        if await self._happen(cluster, type_, verdict.reason, message):
            told.add(what)

    async def _happen(self, cluster: ClusterId, type_: str, reason: str, message: str) -> bool:
        """Whether it will be an event; one that is there already is not told again."""
        subject, desk = f"cluster/{cluster.name}", self._desk
        message = cleaned(message, 512)
        if type_ != words.EVENT_ENROLLED and desk.recent.has(subject, type_, message):
            return True
        happened = Happened(
            type=type_,
            subject=subject,
            reason=reason,
            message=message,
            severity="Normal" if type_ == words.EVENT_ENROLLED else "Warning",
            details={"cluster": cluster.name, "realm": cluster.realm},
        )
        try:
            await desk.statuses.add(FLEET_STATUS, FLEET_UID, happened)
        except Transient as error:
            _log.warning("an event is lost", subject=subject, reason=error.sentence())
            return False
        return True
