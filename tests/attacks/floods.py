"""More of everything than anybody needs, with the others looked at while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

from fleetbus.schemas import limits, subjects
from fleetbus.schemas.streams import ARTIFACTS, EVENTS
from tests.attacks import world
from tests.attacks.attack import OWN_FACTS, Attack, Result, Scene, judged
from tests.attacks.world import ATTACKER, NEWCOMER
from tests.integration.bus.raw import PATIENCE_S, RawPublisher, publication, raw_publisher

MOST_CONNECTIONS = limits.LEAST_AGENTS * limits.CONNECTIONS_AN_AGENT + limits.SPARE_CONNECTIONS
STRANGERS = 1_000
ROUNDS = 20


def attacks() -> Iterator[Attack]:
    for who, what, result, attempt in (
        (world.AGENT, "opens every connection that its realm may have", Result.LIMITED, _connections),
        (world.AGENT, "opens a thousand connections and says nothing", Result.NOTHING, _strangers),
        (world.AGENT, "comes and goes a hundred times", Result.NOTHING, _comes_and_goes),
        (world.AGENT, "makes more subscriptions than an agent has", Result.LIMITED, _subscriptions),
        (world.AGENT, "makes and ends ten thousand subscriptions", Result.NOTHING, _churn),
        (world.AGENT, "beats 20,000 times", Result.NOTHING, _beats),
        (world.AGENT, "writes its facts 1,000 times", Result.NOTHING, _writes),
        (world.AGENT, "asks 20,000 times for an artifact, and reads no answer", Result.NOTHING, _deaf),
        (world.AGENT, "asks 1,000 times for a new credential, with bytes", Result.NOTHING, _renewals),
        (world.VIEWER, "asks 2,000 times for the list of clusters", Result.NOTHING, _lists),
        (world.SUBSCRIBER, "asks 200 times for all events, and reads none", Result.NOTHING, _all_events),
        (world.TOKEN, "asks 1,000 times to be let in, with bytes", Result.NOTHING, _doors),
    ):
        yield Attack(f"flood: {what}", who, what, result, attempt)


async def _connections(scene: Scene) -> Result:
    async with AsyncExitStack() as stack:
        held: list[RawPublisher] = []
        try:
            while len(held) <= MOST_CONNECTIONS:
                held.append(await stack.enter_async_context(raw_publisher(scene.world.fleet, scene.who)))
        except AssertionError:
            await scene.unnoticed()
            return Result.LIMITED
    return Result.SUCCEEDED


async def _strangers(scene: Scene) -> Result:
    """Before TLS, and before the server knows who it is."""
    port = scene.world.fleet.server.port
    held: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(STRANGERS // 50):
                found = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(50)))
                held += [writer for _, writer in found]
        await scene.unnoticed()
    finally:
        for writer in held:
            writer.transport.abort()
    return Result.NOTHING


async def _comes_and_goes(scene: Scene) -> Result:
    for _ in range(100):
        async with scene.peer() as peer:
            await peer.publish(OWN_FACTS.encode(), b"x")
    return Result.NOTHING


async def _subscriptions(scene: Scene) -> Result:
    async with scene.peer() as peer:
        wire = (
            b"SUB %b.%d %d\r\n" % (scene.inbox.encode(), n, n + 1)
            for n in range(limits.AGENT_SUBSCRIPTIONS + 1)
        )
        return judged(await peer.say(b"".join(wire)))


async def _churn(scene: Scene) -> Result:
    wire = b"SUB %b 1\r\nUNSUB 1\r\n" % scene.inbox.encode()
    return await _rounds(scene, wire * 500)


async def _beats(scene: Scene) -> Result:
    return await _rounds(scene, publication(subjects.heartbeat(ATTACKER).encode(), b"{}") * 1_000)


async def _writes(scene: Scene) -> Result:
    return await _rounds(scene, publication(OWN_FACTS.encode(), b"x" * 10_000) * 50)


async def _deaf(scene: Scene) -> Result:
    """Answers pile up at the server, which ends that connection or drops them; both are the attacker's loss."""
    subject = subjects.direct_get(ARTIFACTS.name, subjects.artifact("c" * 64)).encode()
    async with scene.peer() as peer:
        await peer.write(b"SUB %b 1\r\n" % scene.inbox.encode())
        await peer.shout(publication(subject, b"", reply=scene.inbox.encode()) * 20_000)
        await scene.unnoticed()
    return Result.NOTHING


async def _renewals(scene: Scene) -> Result:
    return await _rounds(
        scene, publication(subjects.renew(ATTACKER).encode(), b"{}", reply=scene.inbox.encode()) * 50
    )


async def _lists(scene: Scene) -> Result:
    wire = publication(subjects.api("list").encode(), b'{"kind":"Cluster"}', reply=scene.inbox.encode())
    return await _rounds(scene, wire * 100)


async def _all_events(scene: Scene) -> Result:
    subject = subjects.direct_get(EVENTS.name).encode()
    body = b'{"seq":1,"batch":1000,"multi_last":["%b"]}' % subjects.ALL_EVENTS.encode()
    async with scene.peer() as peer:
        await peer.write(b"SUB %b 1\r\n" % scene.inbox.encode())
        await peer.shout(publication(subject, body, reply=scene.inbox.encode()) * 200)
        await scene.unnoticed()
    return Result.NOTHING


async def _doors(scene: Scene) -> Result:
    wire = publication(subjects.enrol(NEWCOMER).encode(), b"\xff", reply=scene.inbox.encode())
    return await _rounds(scene, wire * 50)


async def _rounds(scene: Scene, wire: bytes) -> Result:
    """Again and again, with a look at the others half way."""
    async with scene.peer() as peer:
        for number in range(ROUNDS):
            result = judged(await peer.say(wire))
            if result is not Result.NOTHING:
                return result
            if number == ROUNDS // 2:
                await scene.unnoticed()
    return Result.NOTHING
