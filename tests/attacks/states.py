"""States, answers and heartbeats that are not what they say: forged, moved, replayed, reordered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import orjson
from nacl.signing import SigningKey

from fleetbus.schemas import subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.signing import signer
from fleetbus.schemas.states import RESULT_ASPECT
from fleetbus.schemas.streams import ASPECTS
from tests.attacks.attack import OWN_FACTS, Attack, Attempt, Result, Scene, publishing, storing
from tests.attacks.world import AGENT, ATTACKER, BYSTANDER, FACTS, World
from tests.integration.controller.people import CLOCK, SIGNING_KEY, events
from tests.waiting import wait_until

STRANGER = SigningKey(b"\x07" * 32)

Bytes = Callable[[World], bytes]


def _resigned(world: World, key: SigningKey | None = None, subject: str = OWN_FACTS, **changes: Any) -> bytes:
    """The attacker's own good facts with `changes`, signed by `key` for `subject`."""
    good = orjson.loads(world.attacker.signed("facts", FACTS).partition(b"\n")[2])
    return signer(key or key_of_seed(world.attacker.seed))(subject, canonical({**good, **changes}))


def _signed(world: World, content: bytes) -> bytes:
    return signer(key_of_seed(world.attacker.seed))(OWN_FACTS, content)


def _bystanders(world: World) -> bytes:
    """What the neighbour would sign for its own facts: it reads well, under another subject."""
    speaker = world.bystander
    content = speaker.signed("facts", FACTS).partition(b"\n")[2]
    return signer(key_of_seed(speaker.seed))(speaker.subject("facts"), content)


FORGED: Mapping[str, Bytes] = {
    "a state without a signature": lambda world: b"{}",
    "an empty state": lambda world: b"",
    "a signature that is no text": lambda world: b"fleetbus1 \xff\xfe.\xff\n{}",
    "a version of signatures to come": lambda world: b"fleetbus9 a.b\n{}",
    "a thousand signatures": lambda world: b"fleetbus1 " + b",".join([b"a.b"] * 1000) + b"\n{}",
    "a state that a stranger has signed": lambda world: _resigned(world, STRANGER),
    "a state that the neighbour has signed": lambda world: _resigned(
        world, key_of_seed(world.bystander.seed)
    ),
    "the neighbour's own state": _bystanders,
    "its own facts, signed as its session": lambda world: _resigned(
        world, subject=subjects.state(ATTACKER, "session")
    ),
    "a state that says it is the neighbour's": lambda world: _resigned(world, cluster=BYSTANDER.name),
    "a state with the neighbour's UID": lambda world: _resigned(world, uid="uid-2"),
    "a state of another fleet": lambda world: _resigned(world, fleet="another"),
    "a state of another aspect": lambda world: _resigned(world, aspect=RESULT_ASPECT),
    "a state from before": lambda world: _resigned(world, serial=0),
    "a state of a contract to come": lambda world: _signed(world, canonical({"contract": 99})),
    "signed bytes that are no JSON": lambda world: _signed(world, b"\x00\xffnot json"),
    "a signed list": lambda world: _signed(world, canonical([1, 2])),
    "JSON as deep as a well": lambda world: _signed(world, b"[" * 50_000),
    "numbers that no machine holds": lambda world: _signed(world, b'{"serial":1e999999}'),
    "facts of another shape, with an escape sequence for a name": lambda world: _resigned(
        world, cluster="\x1b]52;c;bad\x07"
    ),
}


def attacks() -> Iterator[Attack]:
    for what, forged in FORGED.items():
        yield Attack(f"state: {what}", AGENT, f"stores {what}", Result.TOLD, _refused(forged))
    yield Attack(
        "state: time to come",
        AGENT,
        "stores facts of the year 2199, signed by itself",
        Result.OWN_ROW,
        _sent(lambda world: _resigned(world, at="2199-12-31T00:00:00Z")),
    )
    what = "goes back to its own session of before, byte by byte"
    yield Attack("replay its session", AGENT, what, Result.NOTHING, _replayed)
    what = "sends the neighbour's head as an answer, a result and a heartbeat of its own"
    yield Attack("send a head back", AGENT, what, Result.NOTHING, _head_back)
    for name, data in {"bytes": b"\xff\xfe", "a lie": b'{"session":1,"at":"9999-12-31T23:59:59Z"}'}.items():
        subject = subjects.heartbeat(ATTACKER)
        yield Attack(
            f"heartbeat of {name}",
            AGENT,
            f"beats with {name}",
            Result.NOTHING,
            publishing(subject, data=data),
        )
        answer = publishing(subjects.answer(ATTACKER), data=data)
        yield Attack(
            f"answer of {name}", AGENT, f"answers what nobody asked, with {name}", Result.NOTHING, answer
        )


def _sent(made: Bytes) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        return await storing(OWN_FACTS, data=made(scene.world))(scene)

    return attempt


def _refused(made: Bytes) -> Attempt:
    """It is refused in one printable sentence, told once however often it comes, until something good comes."""

    async def attempt(scene: Scene) -> Result:
        world = scene.world
        await _good(world)
        wrong, before = made(world), await _told(world)
        for _ in range(3):
            if await storing(OWN_FACTS, data=wrong)(scene) is not Result.OWN_ROW:
                return Result.NOT_STORED
        if not await wait_until(lambda: _is_refused(world), CLOCK, 10):
            return Result.SUCCEEDED
        sentence = (await _live(world))["refused"]
        assert sentence.startswith("facts: ")
        assert sentence.isprintable()
        assert await wait_until(lambda: _is_told_since(world, before), CLOCK, 10)
        assert (await _told(world))[len(before) :] == [sentence]
        await world.attacker.say("facts", FACTS)
        assert await wait_until(lambda: _not(_is_refused(world)), CLOCK, 10)
        return Result.TOLD

    return attempt


async def _good(world: World) -> None:
    """What other attacks left in the attacker's row is gone, and its session stands."""
    await world.attacker.start()
    await world.attacker.say(RESULT_ASPECT, {"commands": []})
    for aspect in ASPECTS:
        if aspect != "session":
            await world.attacker.say(aspect, FACTS if aspect == "facts" else {})
    assert await wait_until(lambda: _not(_is_refused(world)), CLOCK, 10)


async def _live(world: World) -> dict[str, Any]:
    rows = (await world.operator.ask("list", {"kind": "Cluster", "names": [ATTACKER.name]}))["rows"]
    found: dict[str, Any] = rows[0]["live"]
    return found


async def _is_refused(world: World) -> bool:
    return "refused" in await _live(world)


async def _told(world: World) -> list[str]:
    return [
        one.data["message"] for one in await events(world.look) if one.short_type == "cluster.message-refused"
    ]


async def _is_told_since(world: World, before: list[str]) -> bool:
    return len(await _told(world)) > len(before)


async def _not(said: Awaitable[bool]) -> bool:
    return not await said


async def _replayed(scene: Scene) -> Result:
    world = scene.world
    subject = subjects.state(ATTACKER, "session")
    await world.attacker.start()
    first = await world.look.get_last("STATE", subject)
    await world.attacker.start()
    second = await world.look.get_last("STATE", subject)
    assert first is not None
    assert second is not None
    async with scene.peer() as peer:
        for one in (first, second, first):
            await peer.publish(subject.encode(), one.data)
    return Result.NOTHING


async def _head_back(scene: Scene) -> Result:
    """The neighbour's head is signed by the controller: it is still nobody's state."""
    head = await scene.world.look.get_last("DESIRED", subjects.desired(BYSTANDER))
    assert head is not None
    own = signer(SIGNING_KEY)(subjects.result(ATTACKER), head.data)
    async with scene.peer() as peer:
        for subject in (subjects.answer(ATTACKER), subjects.result(ATTACKER), subjects.heartbeat(ATTACKER)):
            await peer.publish(subject.encode(), head.data)
            await peer.publish(subject.encode(), own)
    return Result.NOTHING
