"""What an operator asks of the controller, signed by who asks.

The bus says who asks, and the bus has an owner. So a request begins with a statement in an envelope, signed by the
key of the operator's own token: an envelope's two lines, a newline, and what is asked, whose digest the statement
holds. It is kept in the audit record of what followed, where it proves that it was asked. The controller signs its
answer together with the statement's id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from pydantic import Field

from fleetbus.schemas import subjects
from fleetbus.schemas.api import Answer
from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.errors import FleetbusError, MessageMalformed, SignatureRefused
from fleetbus.schemas.models import Moment, Received
from fleetbus.schemas.signing import Sign, is_envelope, unverified, verify

_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "command": ("command-run", "command-cancel"),
    "approve": ("approve", "dismiss"),
    "retire": ("retire", "revoke"),
}
"""Of verbs whose records are called otherwise."""

MOST_BYTES = 1024
"""Of a statement in its envelope: it is kept for ever."""


class Statement(Received):
    """That somebody asks `verb`, once and now. `body`: the digest of what is asked.

    `issuer`: the role's key that signed the token of who asks, so that it counts in one fleet and one role only.
    """

    verb: str = Field(max_length=64)
    id: str = Field(min_length=8, max_length=64)
    at: Moment
    issuer: str = Field(max_length=80)
    body: str = Field(max_length=80)


def actions_of(verb: str) -> tuple[str, ...]:
    """What the records of a verb are called."""
    return _ACTIONS.get(verb, (verb,))


def asked(verb: str, body: bytes, *, id: str, at: datetime, issuer: str, sign: Sign) -> bytes:
    """The request as it is sent."""
    statement = Statement(verb=verb, id=id, at=at, issuer=issuer, body=digest(body))
    return sign(subjects.api(verb), statement.to_bytes()) + b"\n" + body


def parts(request: bytes) -> tuple[bytes, bytes]:
    """The signed statement, empty when there is none, and what is asked. Nothing is verified."""
    if not is_envelope(request):
        return b"", request
    mark, _, rest = request.partition(b"\n")
    statement, _, body = rest.partition(b"\n")
    return mark + b"\n" + statement, body


def stated(statement: bytes, verb: str, key: str) -> Statement:
    """What `key` has signed for this verb. Raises MessageMalformed, MessageTooNew, SignatureRefused."""
    subject = subjects.api(verb)
    if len(statement) > MOST_BYTES:
        raise MessageMalformed("a statement that is too long", where=subject)
    content = verify(subject, statement, {key})
    found = Statement.from_bytes(content)
    if content != found.to_bytes() or statement.count(b",", 0, statement.index(b"\n")):
        raise MessageMalformed("a statement with more in it than a statement says", where=subject)
    if found.verb != verb:
        raise SignatureRefused("it states another verb", where=subject)
    return found


def id_of(statement: bytes) -> str:
    """The id in a statement that may be anybody's: only to answer it. Empty for what is none."""
    try:
        return Statement.from_bytes(unverified(statement)).id
    except FleetbusError:
        return ""


def answer_to(answer: Answer, verb: str, id: str, sign: Sign) -> bytes:
    """The answer's bytes; signed for this request when that has an id."""
    if not id:
        return canonical(answer.as_json())
    return sign(subjects.api(verb), canonical(answer.model_copy(update={"request": id}).as_json()))


def read_answer(data: bytes, verb: str, id: str, keys: Collection[str]) -> Answer:
    """What one of `keys` has answered to this very request. Without keys, or an id, whatever has come is believed.

    Raises MessageMalformed, MessageTooNew, SignatureRefused.
    """
    subject = subjects.api(verb)
    if not (keys and id):
        return Answer.from_bytes(unverified(data) if is_envelope(data) else data)
    answer = Answer.from_bytes(verify(subject, data, keys))
    if answer.request != id:
        raise SignatureRefused("an answer to another request", where=subject)
    return answer


def stated_by(statement: str, key: str) -> Statement:
    """What `key` has signed, for whichever verb: of a statement that was kept.

    Raises MessageMalformed, MessageTooNew, SignatureRefused, DocumentInvalid (its verb is no word).
    """
    envelope = statement.encode()
    return stated(envelope, Statement.from_bytes(unverified(envelope)).verb, key)
