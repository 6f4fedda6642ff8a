"""What who is no member yet, or whose credential has lapsed, can do on the real server: ask one thing, and be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.issue import sign
from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import (
    ENROL,
    RENEWER,
    TOKEN,
    role_key_name,
    user_claims,
)
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import BusUnavailable, DocumentInvalid, MessageMalformed
from fleetbus.schemas.limits import ENROL_SUBSCRIPTIONS, SMALL_PAYLOAD_BYTES
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import FleetServer
from tests.integration.bus.raw import raw_publisher

NEW, OTHER, ELSEWHERE = ClusterId("main", "new"), ClusterId("main", "c1"), ClusterId("edge", "new")
ASKS = {TOKEN: subjects.enrol, RENEWER: subjects.renew}


async def made(fleet: FleetServer, role: str, key: SigningKey, **changes: object) -> FleetServer:
    """The same server with one more who connects: `new`."""
    record, issued = read_record(fleet.folder), 1
    claims = user_claims(public_key(key), "new", ENROL, role, record.keys, issued, realm="main")
    claims = Claims(**{**{name: getattr(claims, name) for name in claims.__slots__}, **changes})
    token = await sign(claims, await fleet.keys.find(role_key_name(ENROL, role), Kind.ACCOUNT))
    credential = Credential(token, seed_of(key))
    inbox = subjects.personal_inbox(public_key(key))
    return replace(
        fleet,
        credentials={**fleet.credentials, "new": credential},
        inboxes={**fleet.inboxes, "new": inbox},
    )


@asynccontextmanager
async def connected(fleet: FleetServer, role: str) -> AsyncIterator[NatsBus]:
    async with (await made(fleet, role, SigningKey.generate())).bus("new") as bus:
        yield bus


@pytest.mark.parametrize("role", [TOKEN, RENEWER])
async def test_it_asks_under_its_own_name_and_is_known_by_its_key(
    fleet: FleetServer, controller: NatsBus, role: str
) -> None:
    key = SigningKey.generate()
    with_new = await made(fleet, role, key)
    async with controller.subscribe(ASKS[role](NEW)) as asked, with_new.bus("new") as bus:
        asking = asyncio.create_task(bus.request(ASKS[role](NEW), b"let me in"))
        message = await anext(asked)
        assert message.reply.startswith("_R_.")
        assert with_new.credentials["new"].token in message.headers["Nats-Request-Info"]
        await controller.publish(message.reply, b"come")
        assert (await asking).data == b"come"


async def test_it_has_few_subscriptions_and_small_messages(fleet: FleetServer) -> None:
    key = SigningKey.generate()
    inbox = subjects.personal_inbox(public_key(key))
    with_new = await made(fleet, TOKEN, key)
    async with raw_publisher(with_new, "new") as peer:
        wire = b"".join(b"SUB %b.%d %d\r\n" % (inbox.encode(), n, n) for n in range(ENROL_SUBSCRIPTIONS))
        assert await peer.write(wire) == []
        refused = await peer.write(b"SUB %b.x 99\r\n" % inbox.encode())
        assert b"maximum subscriptions exceeded" in refused[0].lower()
    async with with_new.bus("new") as bus:
        with pytest.raises((MessageMalformed, BusUnavailable)):
            await bus.request(subjects.enrol(NEW), b"x" * (SMALL_PAYLOAD_BYTES + 1))


async def test_the_server_fills_in_whatever_a_user_is_called(fleet: FleetServer) -> None:
    """So the one function that makes users' claims lets no name or realm through that is more than one word."""
    with_new = await made(fleet, TOKEN, SigningKey.generate(), name="*")
    async with raw_publisher(with_new, "new") as peer:
        assert await peer.write(b"PUB %b 0\r\n\r\n" % subjects.enrol(OTHER).encode()) == []
    keys = read_record(fleet.folder).keys
    for name, realm in (("*", "main"), ("new", "*"), ("a.b", "main"), ("new", "main.c1"), ("new", ">")):
        with pytest.raises(DocumentInvalid):
            user_claims("U", name, ENROL, TOKEN, keys, 1, realm=realm)


async def test_without_a_realm_it_reaches_nothing(fleet: FleetServer) -> None:
    body = {"issuer_account": read_record(fleet.folder).accounts[ENROL]}
    with_new = await made(fleet, TOKEN, SigningKey.generate(), body=body)
    async with raw_publisher(with_new, "new") as peer:
        for subject in (subjects.enrol(NEW), subjects.enrol(ELSEWHERE), "fleet.v1.enrol..new"):
            assert await peer.write(b"PUB %b 0\r\n\r\n" % subject.encode())
