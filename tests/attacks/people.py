"""What an operator of a low role and a subscriber ask of the controller that they should not have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from fleetbus.schemas import requests, subjects
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.roles import NEEDS, verbs_of
from tests.attacks import world
from tests.attacks.attack import Attack, Attempt, Result, Scene, each, headers, judged
from tests.attacks.world import AGENT, ATTACKER
from tests.integration.bus.raw import publication
from tests.integration.controller.people import Operator
from tests.integration.controller.toy import bundle_document, cluster_document

NAMES: Mapping[str, str] = {
    "of two tokens": "a.b",
    "of a wildcard": "*",
    "of every wildcard": ">",
    "of the server's": "$JS",
    "of a path": "../../etc/passwd",
    "with a blank": "a b",
    "with a line end": "a\r\nPUB x 0",
    "with an escape sequence": "\x1b[2Jweb",
    "with a vertical tab": "a\x0b1",
    "with a line separator": "a\u2028b",
    "in other letters": "wеb",
    "in capitals": "WEB",
    "reserved, `all`": "all",
    "reserved, with an underline": "_term",
    "without a letter": "",
    "too long": "a" * 300,
}
FORGED = {
    "as the server would": "Nats-Request-Info",
    "in other case": "nats-request-info",
    "with blanks": " Nats-Request-Info ",
}


def attacks() -> Iterator[Attack]:
    for what, name in NAMES.items():
        hostile = bundle_document("x")
        hostile["metadata"]["name"] = name
        said = f"applies a document with a name {what}"
        kind = "Cluster" if "reserved" in what else "Bundle"
        document = hostile if kind == "Bundle" else {**cluster_document("x", "U"), "metadata": {"name": name}}
        yield Attack(
            f"name {what}", world.OPERATOR, said, Result.DENIED, _asks("apply", documents=[document])
        )
    documents: Mapping[str, dict[str, Any]] = {
        "applies a cluster of its own": cluster_document("mine", "U" + "A" * 55),
        "gives a cluster a key of its own": cluster_document(ATTACKER.name, "U" + "A" * 55),
        "gives a cluster another UID": {**cluster_document(ATTACKER.name, "U" + "A" * 55, uid="mine")},
        "applies a kind that there is not": {**bundle_document("x"), "kind": "Enrolment"},
    }
    for what, document in documents.items():
        yield Attack(what, world.OPERATOR, what, Result.DENIED, _asks("apply", documents=[document]))
    for what, header in FORGED.items():
        said = f"applies a cluster, and says itself {what} that it is an admin"
        yield Attack(f"header {what}", world.OPERATOR, said, Result.DENIED, _as_admin(header))
    yield from _of_events()
    yield Attack(
        "bytes to every verb",
        world.VIEWER,
        f"sends bytes, other shapes and great depth to each verb that it may ask, {len(verbs_of('viewer'))}",
        Result.NOTHING,
        _garbage(tuple(verbs_of("viewer"))),
    )
    what = "asks in another's name from its own account, as an agent"
    tried = each(_from_an_agent(verb) for verb in NEEDS)
    yield Attack("ask as an agent", AGENT, what, Result.REFUSED, tried)


def _of_events() -> Iterator[Attack]:
    """A subscriber of some types resumes through the controller."""
    asked: Mapping[str, dict[str, Any]] = {
        "all types by a pattern": {"type": "secret.*"},
        "a type that is not its own": {"type": "secret.synced"},
        "a wildcard within a pattern": {"type": "*.synced"},
        "every wildcard": {"type": "bundle.>.x"},
        "a subject for a pattern": {"type": "bundle.applied.fleet.v1.event.>"},
        "a place before the first": {"after": -1},
        "a million at once": {"limit": 1_000_000},
    }
    for what, body in asked.items():
        yield Attack(
            f"events: {what}", world.TEAM, f"asks for {what}", Result.DENIED, _asks("events", **body)
        )


def _asks(verb: str, **body: Any) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        async with scene.world.fleet.bus(scene.who) as bus:
            try:
                async with asyncio.timeout(15):
                    await Operator(bus, scene.world.fleet.credentials[scene.who]).ask(verb, body)
            except FleetbusError as error:
                return Result.DENIED if str(error).isprintable() else Result.SUCCEEDED
        return Result.SUCCEEDED

    return attempt


def _as_admin(header: str) -> Attempt:
    """With the token of an admin in the header that only the server writes."""

    async def attempt(scene: Scene) -> Result:
        fleet = scene.world.fleet
        told = {
            "acc": "OPERATORS",
            "jwt": fleet.credentials["operator"].token,
            "user": fleet.public_key("operator"),
        }
        asked = {"documents": [cluster_document("mine", fleet.public_key(AGENT))]}
        body = Operator(scene.world.look, fleet.credentials[scene.who]).signed("apply", asked)
        wire = headers(**{header: orjson.dumps(told).decode()})
        async with scene.peer() as peer:
            await peer.write(b"SUB %b 1\r\n" % scene.inbox.encode())
            subject, reply = subjects.api("apply").encode(), scene.inbox.encode()
            result = judged(await peer.say(publication(subject, body, reply=reply, block=wire)))
            if result is not Result.NOTHING:
                return result
            await peer.wait_heard()
            answer = requests.read_answer(peer.heard[0].data, "apply", "", ())
        return Result.SUCCEEDED if answer.ok else Result.DENIED

    return attempt


def _garbage(verbs: tuple[str, ...]) -> Attempt:
    bodies = (
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b"7",
        b"[" * 50_000,
        b'{"kind":7}',
        b'{"names":' + b"[1," * 9_000,
    )

    async def attempt(scene: Scene) -> Result:
        inbox = scene.inbox.encode()
        async with scene.peer() as peer:
            for verb in verbs:
                wire = (publication(subjects.api(verb).encode(), body, reply=inbox) for body in bodies)
                result = judged(await peer.say(b"".join(wire)))
                if result is not Result.NOTHING:
                    return result
        return Result.NOTHING

    return attempt


def _from_an_agent(verb: str) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        async with scene.peer(name="operator", user="operator") as peer:
            subject, reply = subjects.api(verb).encode(), scene.inbox.encode()
            return judged(await peer.say(publication(subject, b"{}", reply=reply)))

    return attempt
