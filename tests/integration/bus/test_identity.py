"""Who the server takes for whom: tokens of roles' keys only, until they are revoked, also over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.closing import revoke_keys
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.issue import issue, sign
from fleetbus.cli.ceremony.keys import ACCOUNTS
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put, Signer
from fleetbus.runtime.signers import SeedSigner
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import (
    AGENT,
    CONTROLLER,
    ENROL,
    FLEET,
    OPERATORS,
    role_key_name,
    user_claims,
)
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.nats_jwt import Claims, read
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.roles import ADMIN
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer, admitted
from tests.integration.bus.raw import raw_publisher
from tests.waiting import wait_until

C1, C2 = ClusterId("main", "c1"), ClusterId("main", "c2")
AGENTS = "AGENTS_main"

Forge = Callable[[FleetServer, Claims], Awaitable[tuple[Claims, Signer]]]


async def refused(fleet: FleetServer, credential: Credential) -> bool:
    stranger = replace(fleet, credentials={"stranger": credential})
    try:
        async with raw_publisher(stranger, "stranger"):
            return False
    except (AssertionError, ConnectionError):
        return True


async def _leave(fleet: FleetServer, cluster: ClusterId) -> None:
    nkey = fleet.public_key(cluster.name)
    await revoke_keys(fleet.folder, (AGENTS, ENROL), (nkey,), fleet.keys, CLOCK)
    await push_accounts(fleet.folder, (AGENTS, ENROL), CLOCK)


async def _with_permissions(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    """The role's key, and permissions of one's own."""
    wider = {**claims.body, "pub": {"allow": [">"]}, "sub": {"allow": [">"]}}
    return replace(claims, body=wider), await _role(fleet, claims.issuer)


async def _of_another_account(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    """The key of the agents' role, for the account of the streams."""
    record = read_record(fleet.folder)
    return replace(claims, body={"issuer_account": record.accounts[FLEET]}), await _role(fleet, claims.issuer)


async def _by_a_stranger(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    signer = SeedSigner(SigningKey.generate(), Kind.ACCOUNT)
    return replace(claims, issuer=signer.public_key), signer


async def _by_the_root(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    signer = await fleet.keys.find("root", Kind.OPERATOR)
    return replace(claims, issuer=signer.public_key), signer


async def _by_whom_signs_accounts(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    signer = await fleet.keys.find(ACCOUNTS, Kind.OPERATOR)
    return replace(claims, issuer=signer.public_key), signer


async def _without_a_proof(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    """A bearer's token, which needs no seed."""
    return replace(claims, body={**claims.body, "bearer_token": True}), await _role(fleet, claims.issuer)


async def _expired(fleet: FleetServer, claims: Claims) -> tuple[Claims, Signer]:
    return replace(claims, expires_at=claims.issued_at - 1), await _role(fleet, claims.issuer)


async def _role(fleet: FleetServer, nkey: str) -> Signer:
    names = {key: name for name, key in read_record(fleet.folder).roles.items()}
    return await fleet.keys.find(names[nkey], Kind.ACCOUNT)


@pytest.mark.parametrize(
    "forge",
    [
        _with_permissions,
        _of_another_account,
        _by_a_stranger,
        _by_the_root,
        _by_whom_signs_accounts,
        _without_a_proof,
        _expired,
    ],
)
async def test_only_a_roles_key_makes_users_and_only_of_its_role(fleet: FleetServer, forge: Forge) -> None:
    key, record = SigningKey.generate(), read_record(fleet.folder)
    issued = int(CLOCK.now().timestamp())
    right = user_claims(public_key(key), "c1", AGENTS, AGENT, record.keys, issued)
    token = await sign(right, await _role(fleet, right.issuer))
    assert not await refused(fleet, Credential(token, seed_of(key)))
    claims, signer = await forge(fleet, right)
    assert await refused(fleet, Credential(await sign(claims, signer), seed_of(key)))


async def test_a_token_without_its_seed_is_nothing(fleet: FleetServer) -> None:
    stolen = object.__new__(Credential)
    object.__setattr__(stolen, "token", fleet.credentials["c1"].token)
    object.__setattr__(stolen, "seed", seed_of(SigningKey.generate()))
    assert await refused(fleet, stolen)


async def test_the_key_that_signs_agents_makes_no_operator(fleet: FleetServer) -> None:
    key, record = SigningKey.generate(), read_record(fleet.folder)
    agents = record.roles[role_key_name(AGENTS, AGENT)]
    for account, role in ((OPERATORS, ADMIN), (FLEET, CONTROLLER)):
        claims = user_claims(public_key(key), "ana", account, role, record.keys, 1)
        forged = await sign(replace(claims, issuer=agents), await _role(fleet, agents))
        assert await refused(fleet, Credential(forged, seed_of(key)))


@pytest.mark.parametrize("claimed", ["nkey", "user"])
async def test_the_name_that_a_client_gives_itself_is_not_who_it_is(
    fleet: FleetServer, controller: NatsBus, claimed: str
) -> None:
    """The server repeats it as `user` to whom is asked; the token beside it is what it has verified."""
    forged = {claimed: fleet.public_key("operator")}
    async with (
        controller.subscribe(subjects.ALL_HEARTBEATS) as heartbeats,
        raw_publisher(fleet, "c1", forged) as agent,
    ):
        await agent.publish(subjects.heartbeat(C1).encode(), b"")
        async with asyncio.timeout(10):
            told = orjson.loads((await heartbeats.__anext__()).headers["Nats-Request-Info"])
    assert told["user"] == fleet.public_key("operator")
    assert read(told["jwt"]).subject == fleet.public_key("c1")
    assert told["acc"] == read_record(fleet.folder).accounts[AGENTS]


async def test_who_is_revoked_is_disconnected_and_refused_also_with_a_later_token(
    own_fleet: FleetServer,
) -> None:
    folder, record = own_fleet.folder, read_record(own_fleet.folder)
    async with own_fleet.bus("c1") as bus, own_fleet.bus("c2") as neighbour:
        await _leave(own_fleet, C1)
        assert await wait_until(lambda: _true(not bus.connected), CLOCK, 10)
        await neighbour.put(Put(subjects.state(C2, "facts"), b"still here"))
        assert neighbour.connection == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bus.wait_connected(), 1)
    assert await refused(own_fleet, own_fleet.credentials["c1"])
    known = read_record(folder)
    assert {one.account for one in known.revoked} == {AGENTS, ENROL}
    later, nkey = int(CLOCK.now().timestamp()) + 3600, own_fleet.public_key("c1")
    claims = user_claims(nkey, "c1", AGENTS, AGENT, record.keys, later)
    token = await sign(claims, await _role(own_fleet, claims.issuer))
    assert await refused(own_fleet, Credential(token, own_fleet.seed("c1")))
    another = await admitted(folder, "c1")
    assert not await refused(own_fleet, another)


async def test_what_was_pushed_outlives_a_restart_and_an_older_configuration(own_fleet: FleetServer) -> None:
    """A configuration from before, as on a node that nobody copied it to, brings no revoked user back."""
    configuration = own_fleet.folder / "nats" / "server.conf"
    before = configuration.read_text()
    await _leave(own_fleet, C1)
    assert configuration.read_text() != before
    configuration.write_text(before)
    await own_fleet.server.kill()
    await own_fleet.server.start()
    assert await refused(own_fleet, own_fleet.credentials["c1"])
    async with own_fleet.bus("c2") as neighbour, own_fleet.bus("controller") as controller:
        await neighbour.put(Put(subjects.state(C2, "facts"), b"kept"))
        assert await controller.get_last("STATE", subjects.state(C2, "facts")) is not None


async def test_the_servers_folder_of_accounts_is_enough(own_fleet: FleetServer, tmp_path: Path) -> None:
    """But for the system's account, without which no server starts."""
    configuration, record = own_fleet.folder / "nats" / "server.conf", read_record(own_fleet.folder)
    lines = configuration.read_text().splitlines()
    others = [key for name, key in record.accounts.items() if name != "SYS"]
    kept = [line for line in lines if not line.strip().startswith(tuple(others))]
    assert len(kept) == len(lines) - len(others)
    configuration.write_text("\n".join(kept))
    await own_fleet.server.restart()
    for who in ("c1", "operator", "controller"):
        async with own_fleet.bus(who):
            pass


async def test_a_changed_permission_reaches_who_is_connected_by_its_next_connection(
    own_fleet: FleetServer,
) -> None:
    """The template is the account's: no user needs another token."""
    folder = own_fleet.folder
    claims = read(read_token(folder, AGENTS))
    body = orjson.loads(orjson.dumps(dict(claims.body)))
    heartbeat = f"{subjects.ROOT}.heartbeat.main.{{{{name()}}}}"
    body["signing_keys"][0]["template"]["pub"]["allow"].remove(heartbeat)
    narrower = replace(claims, body=body, issued_at=claims.issued_at + 1)
    token = await sign(narrower, await own_fleet.keys.find(ACCOUNTS, Kind.OPERATOR))
    async with own_fleet.bus("c1"):
        (folder / "tokens" / f"{AGENTS}.jwt").write_text(token)
        await push_accounts(folder, (AGENTS,), CLOCK)
        async with raw_publisher(own_fleet, "c1") as agent:
            said = await agent.write(b"PUB %b 0\r\n\r\n" % subjects.heartbeat(C1).encode())
        assert b"Permissions Violation for Publish" in b"".join(said)
    assert await issue(folder, own_fleet.keys, CLOCK.now()) == (AGENTS,)
    await push_accounts(folder, (AGENTS,), CLOCK)
    async with raw_publisher(own_fleet, "c1") as agent:
        await agent.publish(subjects.heartbeat(C1).encode(), b"")


async def test_a_token_that_the_operator_did_not_sign_changes_no_account(own_fleet: FleetServer) -> None:
    key = SigningKey.generate()
    stranger = SeedSigner(key, Kind.OPERATOR)
    claims = read(read_token(own_fleet.folder, AGENTS))
    forged = await sign(replace(claims, issuer=stranger.public_key, issued_at=2**40), stranger)
    async with own_fleet.bus("system") as system, own_fleet.bus("c2") as neighbour:
        await system.request(subjects.CLAIMS_UPDATE, forged.encode())
        await neighbour.put(Put(subjects.state(C2, "facts"), b"still here"))
    async with own_fleet.bus("c1"):
        pass


async def _true(value: bool) -> bool:
    return value
