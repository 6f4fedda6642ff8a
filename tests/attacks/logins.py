"""Being let in as somebody else, and speaking another protocol than that of clients."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.folder import read_token
from fleetbus.schemas import subjects
from fleetbus.schemas.accounts import FLEET, SYS, agents_account
from fleetbus.schemas.nats_jwt import Claims, read, signed, unsigned
from fleetbus.schemas.nkeys import Kind, public_key
from fleetbus.schemas.subjects import MAIN
from tests.attacks.attack import Attack, Attempt, Result, Scene, judged
from tests.attacks.world import AGENT, BYSTANDER, OTHER_AGENT, World
from tests.integration.bus.raw import PATIENCE_S, dialled, login, publication

Claim = Callable[[World], Mapping[str, Any]]
"""What is said at the login in place of the truth."""

OWN_ACCOUNT = SigningKey(b"\x09" * 32)


def _token(world: World, who: str = AGENT) -> str:
    return world.fleet.credentials[who].token


def _edited(world: World) -> str:
    """The token with more permissions, under the signature that it had."""
    head, _, signature = _token(world).split(".")
    claims = read(_token(world))
    wider = replace(claims, body={**claims.body, "pub": {"allow": [">"]}, "sub": {"allow": [">"]}})
    return b".".join([head.encode(), unsigned(wider).split(b".")[1], signature.encode()]).decode()


def _unsigned(world: World) -> str:
    """A token that says that it needs no signature."""
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').rstrip(b"=").decode()
    return f"{header}.{_token(world).split('.')[1]}."


def _self_signed(world: World, **changes: Any) -> str:
    claims: Claims = replace(read(_token(world)), issuer=public_key(OWN_ACCOUNT, Kind.ACCOUNT), **changes)
    content = unsigned(claims)
    return signed(content, OWN_ACCOUNT.sign(content).signature)


LIES: Mapping[str, Claim] = {
    "the neighbour's token with its own key": lambda world: {"jwt": _token(world, OTHER_AGENT)},
    "the controller's token with its own key": lambda world: {"jwt": _token(world, "controller")},
    "the system's token with its own key": lambda world: {"jwt": _token(world, "system")},
    "no token": lambda world: {"jwt": ""},
    "its public key in place of a token": lambda world: {"jwt": "", "nkey": world.fleet.public_key(AGENT)},
    "the controller's public key in place of a token": lambda world: {
        "jwt": "",
        "nkey": world.fleet.public_key("controller"),
    },
    "a user and a password": lambda world: {"jwt": "", "sig": "", "user": "admin", "pass": "admin"},
    "a password that is a token": lambda world: {"jwt": "", "sig": "", "auth_token": "s3cr3t"},
    "no signature": lambda world: {"sig": ""},
    "a signature of nothing": lambda world: {"sig": base64.urlsafe_b64encode(b"\x00" * 64).decode()},
    "a token that it has given more permissions": lambda world: {"jwt": _edited(world)},
    "a token that says it needs no signature": lambda world: {"jwt": _unsigned(world)},
    "a token of an account of its own": lambda world: {"jwt": _self_signed(world)},
    "a token of its own for the fleet's account": lambda world: {
        "jwt": _self_signed(world, body={"issuer_account": _account(world, FLEET)})
    },
    "the token of its account": lambda world: {"jwt": read_token(world.fleet.folder, agents_account(MAIN))},
    "the token of the system's account": lambda world: {"jwt": read_token(world.fleet.folder, SYS)},
    "a token that is no token": lambda world: {"jwt": "a.b.c"},
    "a token of a megabyte": lambda world: {"jwt": "x" * 1_000_000},
    "a number for a token": lambda world: {"jwt": 7},
    "its own token, for the fleet's account": lambda world: {"account": FLEET, "new_account": True},
}


def _account(world: World, name: str) -> str:
    return read(read_token(world.fleet.folder, name)).subject


BESIDE: Mapping[str, Mapping[str, Any]] = {
    "that it is a router": {"server_id": "N", "routes": True, "cluster": "c", "name": "n", "gateway": "g"},
    "that it is a leaf": {"remote_account": FLEET, "is_hub": True, "domain": "hub", "deny_pub": []},
    "the controller's key and name": {"nkey": "UCONTROLLER", "user": "controller", "name": "controller"},
    "an escape sequence for a name": {"name": "\x1b]52;c;bad\x07", "lang": "\x1b[2J", "version": "\u2028"},
    "that it wants no permission checked": {"no_permissions": True, "import": {"allow": [">"]}},
}
WORDS: Mapping[str, bytes] = {
    "a router's words": b"RS+ FLEET >\r\nRMSG FLEET fleet.v1.desired._term 0\r\n\r\n",
    "a leaf's words": b"LS+ >\r\nLMSG fleet.v1.desired._term 0\r\n\r\n",
    "a gateway's words": b"A+ FLEET\r\nRS+ FLEET > q 1\r\n",
    "the server's own words": b"MSG fleet.v1.desired._term 1 0\r\n\r\n",
    "HTTP": b"GET /varz HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes": b"\x00\xff\xfe\x16\x03\x01\r\n",
    "words without an end": b"P" * 10_000,
}


def attacks() -> Iterator[Attack]:
    for what, claim in LIES.items():
        yield Attack(f"login: {what}", AGENT, f"comes in with {what}", Result.NO_LOGIN, _comes_in(claim))
    what = "comes in with the signature that it once gave to another connection"
    yield Attack("login: an old signature", AGENT, what, Result.NO_LOGIN, _replayed)
    what = "comes in without TLS"
    yield Attack("login: without TLS", AGENT, what, Result.NO_LOGIN, _without_tls)
    what = "writes and listens before it has said who it is"
    yield Attack("login: never", AGENT, what, Result.NO_LOGIN, _silent)
    what = "says on a connection that stands that it is the controller now"
    yield Attack("login: a second time", AGENT, what, Result.HUNG_UP, _twice)
    for what, told in BESIDE.items():
        said = f"comes in as itself, says {what}, and writes a mailbox"
        yield Attack(f"login: says {what}", AGENT, said, Result.REFUSED, _says(told))
    for what, wire in WORDS.items():
        yield Attack(f"words: {what}", AGENT, f"speaks {what}", Result.HUNG_UP, _speaks(wire))


MAILBOX = publication(subjects.desired(BYSTANDER).encode(), b"{}")


def _comes_in(claim: Claim) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        async with dialled(scene.world.fleet) as (peer, server):
            lie = await asyncio.to_thread(claim, scene.world)
            said = await peer.say(login(scene.world.fleet, scene.who, server["nonce"], lie))
        return Result.NO_LOGIN if b"-ERR" in said or said.closed else Result.SUCCEEDED

    return attempt


async def _replayed(scene: Scene) -> Result:
    async with dialled(scene.world.fleet) as (_, first):
        wire = login(scene.world.fleet, scene.who, first["nonce"])
    async with dialled(scene.world.fleet) as (peer, _):
        said = await peer.say(wire)
    return Result.NO_LOGIN if b"-ERR" in said or said.closed else Result.SUCCEEDED


async def _without_tls(scene: Scene) -> Result:
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.world.fleet.server.port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            server = json.loads((await reader.readline()).removeprefix(b"INFO "))
            writer.write(login(scene.world.fleet, scene.who, server["nonce"]) + b"PING\r\n")
            try:
                answered = await reader.read()
            except ConnectionError:
                answered = b""
        return Result.SUCCEEDED if b"PONG" in answered else Result.NO_LOGIN
    finally:
        writer.transport.abort()


async def _silent(scene: Scene) -> Result:
    async with dialled(scene.world.fleet) as (peer, _):
        said = await peer.say(b"SUB > 1\r\n" + MAILBOX)
    return Result.NO_LOGIN if b"-ERR" in said or said.closed else Result.SUCCEEDED


async def _twice(scene: Scene) -> Result:
    fleet = scene.world.fleet
    async with dialled(fleet) as (peer, server):
        await peer.write(login(fleet, scene.who, server["nonce"]))
        said = await peer.say(
            login(fleet, scene.who, server["nonce"], {"jwt": fleet.credentials["controller"].token})
        )
        return judged(said) if said.closed or b"-ERR" in said else judged(await peer.say(MAILBOX))


def _says(told: Mapping[str, Any]) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        async with scene.peer(**told) as peer:
            return judged(await peer.say(MAILBOX))

    return attempt


def _speaks(wire: bytes) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        async with scene.peer() as peer:
            return judged(await peer.say(wire))

    return attempt
