"""A hole of nats-server's that is not closed: a wildcard for a reply subject.

When an answer has crossed into the account of who asked, the server forgets the way back for its reply subject. For a
reply subject with a wildcard it forgets every way back that the wildcard matches, those of others' requests in the same
account too (`checkForReverseEntry` in its `accounts.go`). Those answers are lost; who waits for them asks again. These
attacks fail when the server does better, and then this module and the line in docs/security.md go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.streams import ARTIFACTS, EVENTS
from tests.attacks.attack import Attack, Attempt, Result, Scene
from tests.attacks.world import AGENT, CANARY, SUBSCRIBER
from tests.integration.bus.raw import publication
from tests.integration.controller.people import CLOCK
from tests.waiting import wait_until

ROUNDS, TOGETHER = 100, 20
Ask = Callable[[Scene], Awaitable[None]]


def attacks() -> Iterator[Attack]:
    get, events = (
        subjects.direct_get(ARTIFACTS.name, subjects.artifact("c" * 64)),
        subjects.direct_get(EVENTS.name),
    )
    for who, question, ask, whose in (
        (AGENT, get, _report, "another agent reports"),
        (SUBSCRIBER, events, _list, "an operator asks"),
    ):
        what = f"asks without end, with `>` for a reply subject, while {whose}"
        yield Attack("reply >", who, what, Result.LOSES_ANSWERS, _wild(question, ask))


async def _report(scene: Scene) -> None:
    """What it has said before, once more."""
    await scene.world.bystander.say(CANARY, {})


async def _list(scene: Scene) -> None:
    await scene.world.operator.ask("list", {"kind": "Cluster"})


def _wild(question: str, ask: Ask) -> Attempt:
    async def attempt(scene: Scene) -> Result:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_flood(scene, question, over))
            lost = await _loses(scene, ask)
            over.set()
        # Once it is over everybody is answered again.
        assert await wait_until(lambda: _answered(scene, ask), CLOCK, 10)
        return Result.LOSES_ANSWERS if lost else Result.NOTHING

    return attempt


async def _flood(scene: Scene, question: str, over: asyncio.Event) -> None:
    """Ends when its last question is answered: those before it are then, too."""
    subject, body, inbox = question.encode(), b'{"seq":1,"batch":1}', scene.inbox.encode()
    async with scene.peer() as peer:
        while not over.is_set():
            await peer.say(publication(subject, body, reply=b">") * 20)
            await asyncio.sleep(0)
        await peer.say(b"SUB %b 1\r\n" % inbox)
        # The attacker's own answers are lost as well while those before it are on their way.
        while not peer.heard:
            await peer.say(publication(subject, body, reply=inbox))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await peer.wait_heard()


async def _loses(scene: Scene, ask: Ask) -> bool:
    """Whether one of many that are on their way together is not answered."""
    for _ in range(ROUNDS):
        if not all(await asyncio.gather(*(_answered(scene, ask) for _ in range(TOGETHER)))):
            return True
    return False


async def _answered(scene: Scene, ask: Ask) -> bool:
    with suppress(TimeoutError, BusUnavailable):
        async with asyncio.timeout(1):
            await ask(scene)
            return True
    return False
