"""The door for operators: a NATS service, one endpoint a verb, on which the controller that leads answers.

Who asks is what the bus's server wrote when the request crossed into our account: a client cannot write that
header, and requests that did not cross are refused. The bus's owner can write it, so what would change something must
be signed by the key in the token that it shows, and that token by the key of a role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog
from pydantic import ValidationError

from fleetbus.controller.desk import Desk, Request, Verb
from fleetbus.controller.doors import (
    admitting,
    approving,
    auditing,
    commanding,
    expelling,
    reading,
    retiring,
    subscribing,
    writing,
)
from fleetbus.controller.presence import requester, requester_token
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Message
from fleetbus.schemas import api, subjects
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, NotPermitted, Terminal
from fleetbus.schemas.limits import MAX_PAYLOAD_BYTES
from fleetbus.schemas.models import wrong_fields
from fleetbus.schemas.nats_jwt import Claims, verify
from fleetbus.schemas.requests import answer_to, id_of, parts
from fleetbus.schemas.roles import (
    NEEDS,
    SUBSCRIBER_OF_TYPES,
    SUBSCRIBER_VERBS,
    changes,
    granted_types,
    refusal,
    suffices,
)

DESCRIPTION = "Fleetbus's controller: documents, commands, and what is known of the fleet"
IMPORTED_REPLY = "_R_."
"""How replies begin whose request came through a service import."""

VERBS: Mapping[str, Verb] = {
    "apply": writing.apply,
    "list": reading.list_,
    "watch": reading.watch,
    "describe": reading.describe,
    "explain": reading.explain,
    "delete": writing.delete,
    "release": writing.release,
    "sync": writing.sync,
    "revoke": writing.revoke,
    "command": commanding.command,
    "commands": commanding.commands,
    "overview": reading.overview,
    "retire": retiring.retire,
    "expel": expelling.expel,
    "audit": auditing.audit,
    "events": subscribing.events,
    "token": admitting.token,
    "approve": admitting.approve,
    "enrolments": admitting.enrolments,
    "approvals": approving.approvals,
    "artifact": approving.artifact,
    "approval": approving.approval,
}

MOST_BYTES = MAX_PAYLOAD_BYTES - 4096
"""Of an answer: the rest is for headers."""

_log = structlog.get_logger("controller")


async def serve(desk: Desk) -> None:
    """Answer until cancelled."""

    async def answer(endpoint: str, message: Message) -> bytes:
        return await answered(desk, endpoint, message)

    endpoints = {verb: subjects.api(verb) for verb in api.VERBS}
    await desk.bus.serve(api.SERVICE_NAME, desk.version, DESCRIPTION, endpoints, answer)


async def answered(desk: Desk, verb: str, message: Message) -> bytes:
    """The envelope for one request; never raises but when cancelled."""
    statement, body = parts(message.data)
    asked = id_of(statement)
    request = Request("", body, verb, _key(message))
    try:
        claims = _claims(message) if request.key else None
        request = _asked_by(desk, verb, request, claims)
        if request.types is None and not suffices(request.role, NEEDS[verb]):
            raise refusal(f"`{verb}`", NEEDS[verb], request.by, request.role)
        if claims is not None and changes(verb):
            desk.requests.accept(verb, statement, body, claims)
            request = replace(request, statement=statement)
        with desk.asking.place(request.key):
            result = await VERBS[verb](desk, request)
        answer = answer_to(api.Answer(ok=True, result=dict(result)), verb, asked, desk.sign)
        if len(answer) <= MOST_BYTES:
            return answer
        told: FleetbusError = Terminal(
            "the answer does not fit into a message", remedy="ask for less, by name"
        )
    except FleetbusError as error:
        told = error
    except ValidationError as error:
        told = DocumentInvalid(cleaned(wrong_fields(error)[0], 300), where=f"request `{verb}`")
    except (
        Exception
    ) as error:  # The edge of the service: a mistake of ours answers this request and nothing else.
        identifier = desk.clock.identifier()
        _log.error(
            "request failed", id=identifier, verb=verb, error=type(error).__name__, raised_at=raised_at(error)
        )
        told = Terminal(
            f"internal error, id {identifier}", remedy="the controller's log has more under this id"
        )
    _log.info("request refused", verb=verb, reason=told.sentence())
    await auditing.note(desk, verb, request, told)
    return answer_to(api.Answer(ok=False, error=api.report(told)), verb, asked, desk.sign)


def _key(message: Message) -> str:
    """The public nkey of who asks; empty for a request that did not come from another account."""
    return requester(message) if message.reply.startswith(IMPORTED_REPLY) else ""


def operator(desk: Desk, key: str) -> str:
    """The name of who asks with this key. Raises NotPermitted."""
    if not key:
        raise NotPermitted("the request did not come from an operator's account")
    name = desk.operators().get(key)
    if name is None:
        raise NotPermitted(
            f"{cleaned(key, 60)} is no operator of this fleet",
            remedy="add the key to `operators` in its settings",
        )
    return name


def _claims(message: Message) -> Claims:
    """What the token of who asks says, if its issuer signed it. Raises NotPermitted."""
    try:
        return verify(requester_token(message))
    except FleetbusError as error:
        raise NotPermitted(f"the token of who asks counts for nothing: {error.message}") from error


def _asked_by(desk: Desk, verb: str, request: Request, claims: Claims | None) -> Request:
    """With who asks and in which role: that of the key which signed the token. The bus has asked the same.

    Raises NotPermitted.
    """
    role = desk.roles().get(claims.issuer, "") if claims else ""
    if claims and role == SUBSCRIBER_OF_TYPES and verb in SUBSCRIBER_VERBS:
        return replace(request, by=f"subscriber/{claims.name}", role=role, types=granted_types(claims))
    return replace(request, by=operator(desk, request.key), role=role)
