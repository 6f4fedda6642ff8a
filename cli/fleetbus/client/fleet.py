"""The fleet as an operator or a program speaks to it: one method a verb, and the events."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar

from fleetbus.client.answers import Answers
from fleetbus.client.connection import connected_bus
from fleetbus.client.context import Context
from fleetbus.client.event_sources import ApiSource, EventSource, StreamSource
from fleetbus.client.events import Event, Since, events
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.clock import Clock, SystemClock
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import api, requests, subjects
from fleetbus.schemas.approvals_api import (
    ApprovalRequest,
    ApprovalResult,
    ApprovalsRequest,
    ApprovalsResult,
    ArtifactRequest,
    ArtifactResult,
)
from fleetbus.schemas.artifacts import parts_of, unpack
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.capabilities.commands import CommandOrder, CommandRow
from fleetbus.schemas.charter import Sealed
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment_api import (
    AdmittedTokenResult,
    ApproveRequest,
    EnrolmentsRequest,
    EnrolmentsResult,
    RetireRequest,
    TokenRequest,
)
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, MessageMalformed, NotPermitted
from fleetbus.schemas.models import Received, Written
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.people import ExpelRequest
from fleetbus.schemas.roles import SUBSCRIBER_OF_TYPES, bus_refusal, granted_types, told_role
from fleetbus.schemas.signing import signer

R = TypeVar("R", bound=Received)

TIMEOUT_S = 10.0
LONG_TIMEOUT_S = 30.0
"""For what the controller works at before it answers, up to 20 s."""
WATCH_WAIT_S = 20.0
_WATCH_GRACE_S = 5.0
_LOOK_EVERY_S = 2.0
"""For new audit records, while somebody watches."""
_RETRY_S = (0.1, 5.0)


@asynccontextmanager
async def connect(context: Context, *, clock: Clock | None = None) -> AsyncIterator[Fleet]:
    """The fleet of a context. Raises SettingsInvalid, NotPermitted, BusUnavailable."""
    clock = clock or SystemClock()
    credential = await asyncio.to_thread(context.credential)
    async with connected_bus(context, credential, clock) as bus:
        yield Fleet(bus, clock, credential, answers=Answers.of(context), insecure=context.insecure)


class Fleet:
    """A connected fleet. Every method raises what the controller answered, as an error of the one tree;
    BusUnavailable when no controller answers; NotPermitted when the credential may not ask."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        credential: Credential | None = None,
        *,
        answers: Answers | None = None,
        insecure: bool = False,
    ) -> None:
        """`credential`: with which the bus is connected; without it nothing can be changed. `insecure`: without TLS.

        `answers`: whose count; without it whatever answers is believed.
        """
        self._answers = answers or Answers()
        self.insecure = insecure
        self._bus = bus
        self._clock = clock
        claims = credential.claims if credential else None
        self._issuer = claims.issuer if claims else ""
        self._sign = signer(key_of_seed(credential.seed)) if credential else None
        self._name, self._role = (claims.name, told_role(claims)) if claims else ("", "")
        self._source: EventSource = StreamSource(bus)
        if claims and self._role == SUBSCRIBER_OF_TYPES:
            self._source = ApiSource(self._read_events, granted_types(claims))

    async def apply(
        self, documents: Iterable[Mapping[str, Any]], *, dry_run: bool = False, reason: str = ""
    ) -> api.ApplyResult:
        """All documents are valid and written, or none is."""
        asked = api.ApplyRequest(
            documents=tuple(dict(document) for document in documents), dry_run=dry_run, reason=reason
        )
        return await self._ask("apply", asked, api.ApplyResult)

    async def list(
        self, kind: str, *, names: tuple[str, ...] = (), labels: str = "", bundle: str = ""
    ) -> api.ListResult:
        """Documents of a kind with their status; `bundle` keeps the clusters on which it is placed."""
        asked = api.ListRequest(kind=kind, names=names, labels=labels, bundle=bundle)
        return await self._rest("list", asked, await self._ask("list", asked, api.ListResult))

    async def watch(
        self, kind: str, *, names: tuple[str, ...] = (), labels: str = ""
    ) -> AsyncGenerator[api.ListResult, None]:
        """The list now and after every change, for ever; survives reconnects and changes of controller.

        The first answer must come: BusUnavailable when no controller answers.
        """
        version, failures, answered = 0, 0, False
        while True:
            asked = api.WatchRequest(
                kind=kind, names=names, labels=labels, version=version, wait_s=WATCH_WAIT_S if answered else 0
            )
            try:
                found = await self._ask(
                    "watch", asked, api.ListResult, timeout_s=asked.wait_s + _WATCH_GRACE_S
                )
                if not answered or found.version != version:
                    found = await self._rest("watch", asked, found)
            except BusUnavailable:
                if not answered:
                    raise
                failures += 1
                pause_s = min(_RETRY_S[1], _RETRY_S[0] * 2.0 ** min(failures, 8))
                await self._clock.sleep(self._clock.jitter(pause_s))
                continue
            if not answered or found.version != version:
                yield found
            version, failures, answered = found.version, 0, True

    async def _rest(
        self, verb: str, asked: api.ListRequest | api.WatchRequest, first: api.ListResult
    ) -> api.ListResult:
        """The whole list, of whose pages one is known. It is as old as the oldest of them."""
        rows, after = [*first.rows], first.more_after
        while after:
            page = await self._ask(verb, asked.model_copy(update={"after": after}), api.ListResult)
            rows += page.rows
            after = page.more_after
        return first.model_copy(update={"rows": tuple(rows), "more_after": ""})

    async def describe(self, kind: str, name: str) -> api.Described:
        return await self._ask("describe", api.NameRequest(kind=kind, name=name), api.Described)

    async def explain(self, name: str, *, cluster: str = "", kind: str = "Bundle") -> api.Explained:
        """Why each cluster is placed or not; with `cluster`, each clause asked of that one."""
        asked = api.ExplainRequest(bundle=name, cluster=cluster, kind=kind)
        return await self._ask("explain", asked, api.Explained)

    async def delete(
        self, kind: str, name: str, *, policy: Literal["Keep", "Remove", ""] = "", reason: str = ""
    ) -> api.Accepted:
        asked = api.DeleteRequest(kind=kind, name=name, policy=policy, reason=reason)
        return await self._ask("delete", asked, api.Accepted)

    async def release(self, kind: str, name: str, *, prune: int, reason: str = "") -> api.Accepted:
        """Let a held prune go; `prune` must be the number of objects that are held."""
        asked = api.ReleaseRequest(kind=kind, name=name, prune=prune, reason=reason)
        return await self._ask("release", asked, api.Accepted)

    async def sync(self, kind: str, name: str, *, reason: str = "") -> api.Accepted:
        """Look at a source again now; answered once that is done and its bundles are rendered."""
        asked = api.SyncRequest(kind=kind, name=name, reason=reason)
        return await self._ask("sync", asked, api.Accepted, timeout_s=LONG_TIMEOUT_S)

    async def revoke(self, name: str, *, reason: str = "") -> api.Accepted:
        """Revoke a SecretBinding: in Vault, then in its clusters."""
        return await self._ask("revoke", api.RevokeRequest(name=name, reason=reason), api.Accepted)

    async def expel(self, asked: ExpelRequest) -> api.Accepted:
        """An operator or a subscriber is none any more: it is noted and told. The bus enforces it."""
        return await self._ask("expel", asked, api.Accepted)

    async def retire(self, asked: RetireRequest) -> api.Accepted:
        """A cluster leaves the fleet; waits until it has."""
        return await self._ask("retire", asked, api.Accepted, timeout_s=LONG_TIMEOUT_S)

    async def admit_token(self, asked: TokenRequest) -> AdmittedTokenResult:
        """Have a join token admitted by its public key."""
        return await self._ask("token", asked, AdmittedTokenResult)

    async def approve(self, asked: ApproveRequest) -> api.Accepted:
        """Let the cluster in that waits under a name, or dismiss it."""
        return await self._ask("approve", asked, api.Accepted)

    async def enrolments(self, *, name: str = "") -> EnrolmentsResult:
        """Names with open tokens, and with clusters that wait for them or claim them; or all of one name."""
        return await self._ask("enrolments", EnrolmentsRequest(name=name), EnrolmentsResult)

    async def approvals(self, *clusters: str) -> ApprovalsResult:
        """The protected clusters among these, or among all, with what waits for approvals there."""
        return await self._ask("approvals", ApprovalsRequest(clusters=clusters), ApprovalsResult)

    async def hand_in(self, approvals: Sequence[str], *, reason: str = "") -> ApprovalResult:
        """Give signed approvals to the controller: all fit what waits, or none is taken."""
        asked = ApprovalRequest(approvals=tuple(approvals), reason=reason)
        return await self._ask("approval", asked, ApprovalResult)

    async def artifact(self, digest: str) -> bytes:
        """The content that has this digest, whatever the controller says. Raises NotFound, MessageMalformed."""
        stored = await self._stored(digest)
        parts = {name: await self._stored(name) for name in parts_of(stored) or ()}
        return unpack(digest, stored, parts)

    async def _stored(self, digest: str) -> bytes:
        answer = await self._ask("artifact", ArtifactRequest(digest=digest), ArtifactResult)
        try:
            return base64.b64decode(answer.stored, validate=True)
        except binascii.Error as error:
            raise MessageMalformed("an artifact that is not base64", where=digest[:12]) from error

    async def run_command(self, order: CommandOrder) -> CommandRow:
        return await self._command(api.CommandRequest(action="run", order=order))

    async def cancel_command(self, id: str, *, reason: str = "") -> CommandRow:
        return await self._command(api.CommandRequest(action="cancel", id=id, reason=reason))

    async def list_commands(self, *, cluster: str = "") -> tuple[CommandRow, ...]:
        """Open commands and those that ended lately, newest first."""
        asked = api.CommandsRequest(cluster=cluster)
        return (await self._ask("commands", asked, api.CommandsResult)).commands

    async def charter(self, root: str, fleet: str) -> Sealed | None:
        """What this root has said last of this fleet, as it stands on the bus; None for nothing.

        Raises BusUnavailable, NotPermitted (a bus from before there were charters), Refused (not the root's).
        """
        return await read_charter(self._bus, root, fleet)

    async def overview(self) -> api.Overview:
        return await self._ask("overview", None, api.Overview)

    def events(
        self, type: str = "*", since: Since = None, *, follow: bool = True
    ) -> AsyncGenerator[Event, None]:
        """What happened and, with `follow`, what happens: CloudEvents, each once, in order.

        `type`: `bundle.*`, `bundle.applied`, or `*` for all that the credential may read; who may read some types only
        reads through the controller. `since`: the sequence of the last event that was dealt with, a moment, or None
        for from now on. Keep `event.sequence` once an event is dealt with: whoever resumes with it misses nothing and
        sees nothing twice.
        """
        return events(self._source, self._bus, self._clock, type, since, follow=follow)

    async def _read_events(self, asked: api.EventsRequest) -> api.EventsResult:
        return await self._ask("events", asked, api.EventsResult)

    async def audit(
        self,
        *,
        after: int = 0,
        since: datetime | None = None,
        actor: str = "",
        action: str = "",
        object: str = "",
        follow: bool = False,
    ) -> AsyncGenerator[api.AuditResult, None]:
        """Audit records in pages, oldest first; with `follow` also those that come, until closed.

        They are as they are stored: `fleetbus.schemas.audit.step` verifies them.
        """
        asked = api.AuditRequest(
            after=after, since=since, actor=actor, action=action, object=object, limit=500
        )
        while True:
            page = await self._ask("audit", asked, api.AuditResult)
            yield page
            asked = asked.model_copy(update={"position": page.position or asked.position})
            if not page.more:
                if not follow:
                    return
                await self._clock.sleep(self._clock.jitter(_LOOK_EVERY_S))

    async def _command(self, asked: api.CommandRequest) -> CommandRow:
        rows = (await self._ask("command", asked, api.CommandsResult)).commands
        if not rows:
            raise MessageMalformed("the controller's answer has no command", where=subjects.api("command"))
        return rows[0]

    async def _ask(
        self, verb: str, asked: Written | None, result: type[R], *, timeout_s: float = TIMEOUT_S
    ) -> R:
        subject = subjects.api(verb)
        data = canonical(asked.as_json()) if asked is not None else b"{}"
        id = self._clock.identifier() if self._sign else ""
        try:
            message = await self._bus.request(subject, self._stated(verb, data, id), timeout_s=timeout_s)
        except BusUnavailable as error:
            raise _nobody_answers(error) from error
        except NotPermitted as error:
            raise bus_refusal(verb, self._name, self._role) from error
        answer = await self._answers.read(self._bus, message.data, verb, id)
        if not answer.ok:
            raise _refusal(answer)
        return result.from_json(answer.result)

    def _stated(self, verb: str, body: bytes, id: str) -> bytes:
        """What is asked, with a statement of who asks."""
        if self._sign is None:
            return body
        return requests.asked(verb, body, id=id, at=self._clock.now(), issuer=self._issuer, sign=self._sign)


def _nobody_answers(error: BusUnavailable) -> BusUnavailable:
    return BusUnavailable(
        f"no controller answers: {error.message}",
        where=error.where,
        remedy="see whether a controller runs and leads: `nats service ls`, and its log",
    )


def _refusal(answer: api.Answer) -> FleetbusError:
    if answer.error is None:
        return MessageMalformed("the controller's answer is neither a result nor an error")
    return api.raised(answer.error)
