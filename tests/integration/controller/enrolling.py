"""Who has a join token: an agent's part of the enrolment by hand, to ask what an agent would not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import CredentialAnswer, CredentialRequest, JoinToken
from fleetbus.schemas.enrolment_api import AdmittedTokenResult
from fleetbus.schemas.nkeys import public_key, seed_of
from fleetbus.schemas.signing import signer, verify
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.controller.people import FLEET, SIGNING_KEY, Operator


@dataclass
class Token:
    """One that an operator has had admitted."""

    server: FleetServer
    cluster: ClusterId
    key: SigningKey
    admitted: AdmittedTokenResult

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[NatsBus]:
        credential = Credential(self.admitted.jwt, seed_of(self.key))
        async with connected(self.server, credential, self.admitted.certificate) as bus:
            yield bus

    def join_token(self) -> JoinToken:
        """As it is handed to an agent."""
        told = self.admitted
        return JoinToken(
            id=told.id,
            fleet=told.fleet,
            realm=self.cluster.realm,
            cluster=self.cluster.name,
            bus_servers=(self.server.server.url,),
            bus_ca=self.server.ca_pem,
            controller_keys=told.controller_keys,
            epoch=told.epoch,
            root=told.root,
            seed=seed_of(self.key),
            jwt=told.jwt,
            certificate=told.certificate,
            expires_at=told.expires_at,
        )


@dataclass
class Candidate:
    """A cluster that asks: its key and what it says of itself."""

    uid: str = "uid-1"
    key: SigningKey = field(default_factory=SigningKey.generate)

    @property
    def nkey(self) -> str:
        return public_key(self.key)

    def request(self, **changes: Any) -> CredentialRequest:
        given = {
            "fleet": FLEET,
            "nkey": self.nkey,
            "uid": self.uid,
            "nonce": CLOCK.identifier(),
            "issuer": "i",
        }
        return CredentialRequest(**{**given, **changes})

    async def enrol(self, token: Token, **changes: Any) -> CredentialAnswer:
        async with token.bus() as bus:
            sign = signer(token.key, self.key)
            return await ask(bus, subjects.enrol(token.cluster), self.request(**changes), sign)

    async def renew(
        self, server: FleetServer, cluster: ClusterId, renewer: str, certificate: str = "", **changes: Any
    ) -> CredentialAnswer:
        async with connected(server, Credential(renewer, seed_of(self.key)), certificate) as bus:
            return await ask(bus, subjects.renew(cluster), self.request(**changes), signer(self.key))


async def ask(bus: NatsBus, subject: str, request: CredentialRequest, sign: Any) -> CredentialAnswer:
    message = await bus.request(subject, sign(subject, request.to_bytes()))
    assert message.data, message.headers
    answer = CredentialAnswer.from_bytes(verify(subject, message.data, {public_key(SIGNING_KEY)}))
    assert answer.nonce == request.nonce
    return answer


@asynccontextmanager
async def connected(
    server: FleetServer, credential: Credential, certificate: str = ""
) -> AsyncIterator[NatsBus]:
    inbox = subjects.personal_inbox(credential.nkey)
    settings = BusSettings(
        (server.server.url,),
        credential,
        inbox,
        "candidate",
        trust=Trust(ca_pem=server.ca_pem, certificate=certificate),
    )
    async with NatsBus(settings, CLOCK) as bus:
        await bus.wait_connected()
        yield bus


async def admitted_token(server: FleetServer, operator: Operator, name: str, **options: Any) -> Token:
    key = SigningKey.generate()
    found = await operator.ask("token", {"name": name, "key": public_key(key), **options})
    return Token(server, ClusterId("main", name), key, AdmittedTokenResult.from_json(found))
