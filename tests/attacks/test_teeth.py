"""The same attacks where they succeed: agents in the account of the streams, streams with every feature on.

So what test_attacks.py asserts can fail.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest

from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.streams import AUDIT, EVENTS, STATE, STREAMS
from fleetbus.schemas.subjects import matches
from tests.attacks.attack import Attack, Result, Scene
from tests.attacks.canary import MOVES, footprint
from tests.attacks.suite import ATTACKS
from tests.attacks.world import AGENT, BYSTANDER, World
from tests.bus_server import empty_streams

INSIDE = "controller"
"""A credential in the account of the streams, as a naive arrangement gives to agents."""
STORED = [subject for stream in STREAMS for subject in stream.subjects if stream is not EVENTS]
"""What the footprint shows; of events the subscriber tells."""


def _touches_a_stream(target: str) -> bool:
    if target.startswith("$JS.API.STREAM.") and target.split(".")[3] in ("DELETE", "PURGE"):
        return not target.endswith((AUDIT.name, EVENTS.name))
    return any(matches(one, target) for one in STORED) and not any(matches(one, target) for one in MOVES)


REPLIES = [
    one
    for one in ATTACKS
    if one.who == AGENT and one.id.startswith("reply ") and _touches_a_stream(one.id.removeprefix("reply "))
]
REFUSED = [
    one
    for one in ATTACKS
    if one.who == AGENT and one.result is Result.REFUSED and one.id.startswith(("ask ", "write ", "listen "))
][::10]


@pytest.fixture
async def stand(naive: World) -> World:
    """Every stream with something of the bystander's in it."""
    await naive.look.request(subjects.jetstream_api(f"STREAM.DELETE.{STATE.name}"), b"")
    await ensure_streams(naive.look)
    await empty_streams(naive.look)
    await naive.look.put(Put(subjects.document("bundle", "web"), b"document"))
    await naive.look.put(Put(subjects.status("bundle", "web"), b"status"))
    await naive.look.put(Put(subjects.desired(BYSTANDER), b"head"))
    await naive.look.put(Put(subjects.artifact("a" * 64), b"artifact"))
    await naive.look.put(Put(subjects.state(BYSTANDER, "facts"), b"facts"))
    await naive.look.put(Put(subjects.emit("main", BYSTANDER.name, "bundle.applied"), b"event"))
    return naive


def test_there_is_something_to_show() -> None:
    assert len(REPLIES) >= 15
    assert len(REFUSED) >= 15


@pytest.mark.parametrize("attack", REPLIES, ids=lambda attack: attack.id)
async def test_the_server_writes_for_whoever_is_in_the_account_of_the_streams(
    stand: World, attack: Attack
) -> None:
    async with asyncio.timeout(20):
        before = await footprint(stand.look)
        assert await attack.attempt(Scene(stand, INSIDE)) is Result.NOTHING
        assert before.differences(await footprint(stand.look)) != []


@pytest.mark.parametrize("attack", REFUSED, ids=lambda attack: attack.id)
async def test_without_permissions_the_bus_refuses_nothing(stand: World, attack: Attack) -> None:
    async with asyncio.timeout(20):
        assert await attack.attempt(Scene(stand, INSIDE)) is not Result.REFUSED


@pytest.mark.parametrize(
    "what",
    ["rolls up its subject", "rolls up the whole stream", "asks for eternal life", "opens an atomic batch"],
)
async def test_a_stream_with_every_feature_on_takes_them(stand: World, what: str) -> None:
    wide = STATE.configuration() | {"allow_rollup_hdrs": True, "allow_msg_ttl": True, "allow_atomic": True}
    name = subjects.jetstream_api(f"STREAM.UPDATE.{STATE.name}")
    told = orjson.loads((await stand.look.request(name, orjson.dumps(wide))).data)
    assert "error" not in told
    attack = next(one for one in ATTACKS if one.id == what)
    async with asyncio.timeout(20):
        before = await footprint(stand.look)
        result = await attack.attempt(Scene(stand, AGENT))
        after = await footprint(stand.look)
    assert result is not Result.NOT_STORED or before.differences(after) != []


async def test_a_message_that_never_comes_is_waited_for_no_longer_than_promised(naive: World) -> None:
    """A check that hangs would hide what it should show."""
    with pytest.raises(TimeoutError):
        async with Scene(naive, AGENT).peer() as peer, asyncio.timeout(0.2):
            await peer.wait_heard()
