"""Whoever owns the bus asks nothing in an operator's name: he writes every header, and signs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.record import read_record
from fleetbus.client import Fleet
from fleetbus.client.answers import Answers
from fleetbus.controller.desk import Desk
from fleetbus.controller.doors.api import answered
from fleetbus.controller.requests import AHEAD_S, LATE_S
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Message
from fleetbus.schemas import api, subjects
from fleetbus.schemas.accounts import OPERATORS, role_key_name
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import MessageMalformed, NotFound, NotPermitted, SignatureRefused, Stale
from fleetbus.schemas.nats_jwt import signed as token_of
from fleetbus.schemas.nats_jwt import unsigned
from fleetbus.schemas.nkeys import public_key, seed_of
from fleetbus.schemas.requests import read_answer, stated_by
from fleetbus.schemas.roles import ADMIN, changes
from tests.bus_server import OPERATORS_BY_ROLE, FleetServer
from tests.integration.controller.people import CLOCK, SIGNING_KEY, Operator, controlling, outcome
from tests.integration.controller.test_api import audits
from tests.integration.controller.toy import bundle_document

BODY = {"documents": [bundle_document("a")]}


@dataclass
class Owner:
    """Of the bus: his server writes into the header what he likes. A client of a true one cannot send such a reply."""

    desk: Desk

    async def forge(self, request: bytes, token: str, verb: str = "apply") -> dict[str, Any]:
        """The result of a request that seems to have come from who has this token; raises what was answered."""
        headers = {"Nats-Request-Info": orjson.dumps({"acc": "OPERATORS", "jwt": token}).decode()}
        message = Message(subjects.api(verb), request, reply="_R_.x", headers=headers)
        return outcome(read_answer(await answered(self.desk, verb, message), verb, "", ()))


@pytest.fixture
async def owner(operator: Operator, fleet: FleetServer, tmp_path: Path) -> AsyncIterator[Owner]:
    async with controlling(fleet, tmp_path) as controller:
        await operator.wait_answered()
        yield Owner(controller.desks[-1])


async def test_what_an_operator_signed_stands_in_the_audit(
    owner: Owner, operator: Operator, bus: NatsBus
) -> None:
    await operator.ask("apply", BODY)
    (record,) = await audits(bus)
    assert record.statement is not None
    assert stated_by(record.statement, operator.credential.nkey).verb == record.action == "apply"


async def test_nothing_changes_without_a_signature(owner: Owner, operator: Operator, bus: NatsBus) -> None:
    body = canonical(BODY)
    for verb in filter(changes, api.VERBS):
        with pytest.raises(SignatureRefused, match="not signed by who asks"):
            await owner.forge(body, operator.credential.token, verb)
        with pytest.raises(SignatureRefused, match="not signed by who asks"):
            await operator.send(verb, body)
    assert await audits(bus) == []


def stranger(operator: Operator, fleet: FleetServer) -> Operator:
    """Of a key that nobody knows."""
    key = SigningKey.generate()
    claims = replace(operator.credential.claims, subject=public_key(key))
    return Operator(operator.bus, Credential(made_up(claims), seed_of(key)))


def made_up(claims: Any) -> str:
    """A token that says so, signed by a key of the owner's."""
    content = unsigned(claims)
    return token_of(content, SigningKey.generate().sign(content).signature)


async def test_nobody_signs_in_anothers_name(
    owner: Owner, operator: Operator, fleet: FleetServer, bus: NatsBus
) -> None:
    other, mine = stranger(operator, fleet), operator.credential
    with pytest.raises(SignatureRefused, match="signed by 0 of 1"):
        await owner.forge(other.signed("apply", BODY), mine.token)
    with pytest.raises(NotPermitted, match="counts for nothing"):
        await owner.forge(other.signed("apply", BODY), other.credential.token)

    viewer = Operator(operator.bus, fleet.credentials[OPERATORS_BY_ROLE["viewer"]])
    raised = replace(
        viewer.credential.claims, issuer=read_record(fleet.folder).roles[role_key_name(OPERATORS, ADMIN)]
    )
    with pytest.raises(NotPermitted, match="counts for nothing"):
        await owner.forge(viewer.signed("apply", BODY, issuer=raised.issuer), made_up(raised))
    assert await audits(bus) == []


async def test_what_was_signed_counts_as_it_was_signed_and_once(
    owner: Owner, operator: Operator, bus: NatsBus
) -> None:
    request, token = operator.signed("apply", BODY), operator.credential.token
    with pytest.raises(SignatureRefused, match="not what was signed"):
        await owner.forge(request.replace(b'"a"', b'"b"'), token)
    with pytest.raises(SignatureRefused):
        await owner.forge(request, token, "delete")
    with pytest.raises(SignatureRefused, match="another role or fleet"):
        await operator.send("apply", operator.signed("apply", BODY, issuer=public_key(SigningKey.generate())))
    assert (await owner.forge(request, token))["applied"]
    for send in (owner.forge(request, token), operator.send("apply", request)):
        with pytest.raises(Stale, match="asked before"):
            await send
    assert [one.object for one in await audits(bus)] == ["bundle/a"]


async def test_what_was_signed_counts_now(
    fleet: FleetServer, operator: Operator, bus: NatsBus, tmp_path: Path
) -> None:
    before = operator.signed("apply", BODY)
    async with controlling(fleet, tmp_path) as controller:
        await operator.wait_answered()
        for seconds, told in ((-LATE_S - 5, "s ago"), (AHEAD_S + 5, "s from now")):
            at = CLOCK.now() + timedelta(seconds=seconds)
            with pytest.raises(Stale, match=told):
                await operator.send("apply", operator.signed("apply", BODY, at=at))
        with pytest.raises(Stale, match="before this controller began to lead"):
            await Owner(controller.desks[-1]).forge(before, operator.credential.token)
    assert await audits(bus) == []


async def test_what_an_operator_hears_is_what_the_controller_answered_it(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        true = Fleet(
            operator.bus, CLOCK, operator.credential, answers=Answers(frozenset({public_key(SIGNING_KEY)}))
        )
        assert (await true.overview()).fleet == "test"
        with pytest.raises(NotFound):
            await true.describe("Bundle", "none")
        other = Fleet(
            operator.bus,
            CLOCK,
            operator.credential,
            answers=Answers(frozenset({public_key(SigningKey.generate())})),
        )
        with pytest.raises(SignatureRefused, match="not this fleet's controller"):
            await other.overview()


async def test_another_answer_is_not_taken_for_this_ones(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    """Neither one that was kept, nor one without a signature, nor one to another verb."""
    keys = {public_key(SIGNING_KEY)}
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        request = operator.signed("overview", {}, id="the-first-one")
        kept = (await operator.bus.request(subjects.api("overview"), request)).data
        plain = (await operator.bus.request(subjects.api("overview"), b"{}")).data
    assert read_answer(kept, "overview", "the-first-one", keys).ok
    with pytest.raises(SignatureRefused, match="another request"):
        read_answer(kept, "overview", "the-second-one", keys)
    with pytest.raises(SignatureRefused):
        read_answer(kept, "list", "the-first-one", keys)
    with pytest.raises(MessageMalformed):
        read_answer(plain, "overview", "the-first-one", keys)
