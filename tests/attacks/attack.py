"""What an attack is: who tries what, how, and what is promised to come of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from fleetbus.schemas import subjects
from tests.attacks.world import ATTACKER, World
from tests.integration.bus.raw import RawPublisher, Said, publication, raw_publisher


class Result(StrEnum):
    """What came of it. Nobody else notices anything: that is checked after every attack."""

    REFUSED = "the bus refuses it"
    NO_LOGIN = "the bus lets nobody in"
    HUNG_UP = "the bus ends that connection"
    LIMITED = "the bus stops it at a limit"
    NOT_STORED = "the stream does not take it"
    OWN_ROW = "it stands in the attacker's own row, where it is what it looks like"
    NOTHING = "nothing comes of it"
    DENIED = "the controller refuses it"
    TOLD = "the controller refuses it, keeps the last good state and says so"
    LOSES_ANSWERS = "answers on their way to others of its account are lost, who ask again"
    SUCCEEDED = "it succeeds"
    """Nobody promises this."""


async def _nobody_else() -> None:
    """There is nobody else who could notice."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an attack is tried, and whose credential is in the attacker's hands."""

    world: World
    who: str
    unnoticed: Callable[[], Awaitable[None]] = field(default=_nobody_else)
    """Proves in the midst of an attack that nobody else notices it."""

    def peer(self, **login: Any) -> AbstractAsyncContextManager[RawPublisher]:
        return raw_publisher(self.world.fleet, self.who, login)

    @property
    def inbox(self) -> str:
        """Where the attacker may listen for answers."""
        return f"{self.world.fleet.inboxes[self.who]}.x"


Attempt = Callable[[Scene], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Attack:
    """`who` names a credential of the world's; `what` is a phrase for the table."""

    id: str
    who: str
    what: str
    result: Result
    attempt: Attempt


def judged(said: Said) -> Result:
    """What the server's words, or that it has none, mean."""
    if b"Permissions Violation" in said:
        return Result.REFUSED
    if said.closed:
        # Its last words may be lost with the connection.
        return Result.HUNG_UP
    return Result.LIMITED if b"maximum" in said else Result.NOTHING


def writing(wire: bytes) -> Attempt:
    """The bytes themselves, after the login."""

    async def attempt(scene: Scene) -> Result:
        async with scene.peer() as peer:
            return judged(await peer.say(wire))

    return attempt


def each(attempts: Iterable[Attempt]) -> Attempt:
    """One after another. What came of it is what came of each, and of unlike results the first that differs."""
    tried = tuple(attempts)

    async def attempt(scene: Scene) -> Result:
        results = [await one(scene) for one in tried]
        return next((one for one in results if one is not results[0]), results[0])

    return attempt


def publishing(subject: str | bytes, *, reply: str = "", data: bytes = b"{}", block: bytes = b"") -> Attempt:
    name = subject.encode() if isinstance(subject, str) else subject
    return writing(publication(name, data, reply=reply.encode(), block=block))


def subscribing(subject: str, queue: str = "") -> Attempt:
    return writing(b"SUB %b %b 1\r\n" % (subject.encode(), queue.encode()))


def storing(subject: str, *, data: bytes = b"{}", block: bytes = b"") -> Attempt:
    """A write to a stream, with a look at how the stream acknowledges it."""

    async def attempt(scene: Scene) -> Result:
        async with scene.peer() as peer:
            wire = b"SUB %b 1\r\n" % scene.inbox.encode()
            wire += publication(subject.encode(), data, reply=scene.inbox.encode(), block=block)
            result = judged(await peer.say(wire))
            if result is not Result.NOTHING:
                return result
            await peer.wait_heard()
            told = peer.heard[0].data
        return Result.NOT_STORED if told and "error" in orjson.loads(told) else Result.OWN_ROW

    return attempt


def headers(**fields: str) -> bytes:
    """A header block; `_` in a name stands for `-`."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


OWN_FACTS = subjects.state(ATTACKER, "facts")
