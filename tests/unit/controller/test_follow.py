"""What clusters report, across restarts and rejoins. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.controller.follow import Follow
from fleetbus.controller.server_time import ServerTime
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities.clusters import ClusterDetails
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer
from fleetbus.schemas.states import State
from fleetbus.schemas.streams import STATE
from fleetbus.schemas.subjects import ClusterId
from tests.seals import SEAL, sealed
from tests.simulation.bus import SimulatedBus, SimulatedServer
from tests.simulation.loop import START, VirtualClock, VirtualLoop, simulate

C1 = ClusterId("main", "c1")
OLD, NEW = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)


def cluster(uid: str, key: SigningKey) -> Stored:
    spec = {"key": public_key(key)}
    return Stored(
        kind="Cluster", name="c1", uid=uid, generation=1, created_at=START, updated_at=START, spec=spec
    )


def signed(key: SigningKey, aspect: str, serial: int, **body: object) -> Put:
    if aspect == "session":
        body = {"holder": "pod", "agentVersion": "1", "startedAt": START.isoformat()}
    state = State(
        fleet="test", cluster="c1", uid="kube", aspect=aspect, serial=serial, at=START, body=dict(body)
    )
    subject = subjects.state(C1, aspect)
    return Put(subject, signer(key)(subject, state.to_bytes()))


@dataclass
class World:
    loop: VirtualLoop
    chance: Random
    clock: VirtualClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.loop, self.chance)
        self.bus = SimulatedServer(self.clock, self.chance).bus("controller")

    async def put_document(self, stored: Stored) -> None:
        await self.bus.put(sealed(subjects.document("cluster", "c1"), stored))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Known]:
        known = Known("test")
        follow = Follow(
            self.bus,
            self.clock,
            known,
            ServerTime(self.clock),
            seal=SEAL,
        )
        task = asyncio.create_task(follow.run())
        await follow.ready.wait()
        try:
            yield known
        finally:
            task.cancel()
            await asyncio.wait([task])


def facts_of(known: Known) -> tuple[int, str]:
    view = known.cluster("c1")
    assert view is not None
    return (view.facts.nodes if view.facts else 0, view.refused)


def test_a_controller_that_starts_takes_nothing_older_than_was_accepted() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[tuple[int, str]]:
        world = World(loop, chance)
        await world.put_document(cluster("doc-1", OLD))
        details = ClusterDetails(uid="kube", serials={"facts": 5}, registered=True)
        status = Status(kind="Cluster", name="c1", uid="doc-1", details=details.as_json())
        await world.bus.put(sealed(subjects.status("cluster", "c1"), status))
        await world.bus.put(signed(OLD, "session", 1))
        found = []
        for serial in (4, 5, 6):
            await world.bus.put(signed(OLD, "facts", serial, kubernetesVersion="v1", nodes=serial))
            async with world.following() as known:
                found.append(facts_of(known))
        return found

    replayed, same, newer = simulate(1, scenario)
    assert replayed[0] == 0
    assert replayed[1].startswith("facts: the facts state has serial 4, 5 was accepted before")
    assert (same, newer) == ((5, ""), (6, ""))


def test_a_cluster_that_joins_again_with_a_new_key_is_free_of_its_former_states() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[tuple[int, str]], list[str]]:
        world, found = World(loop, chance), []
        await world.put_document(cluster("doc-1", OLD))
        for put in (signed(OLD, "session", 1), signed(OLD, "facts", 2, kubernetesVersion="v1", nodes=3)):
            await world.bus.put(put)
        async with world.following() as known:
            found.append(facts_of(known))
            await world.clock.sleep(60)
            await world.put_document(
                cluster("doc-2", NEW).model_copy(update={"created_at": world.clock.now()})
            )
            await world.clock.sleep(10)
            found.append(facts_of(known))
            # The agent of the removed cluster still writes when its name has joined again.
            await world.bus.put(signed(OLD, "secrets", 3))
            await world.clock.sleep(10)
            found.append(facts_of(known))
            for put in (signed(NEW, "session", 1), signed(NEW, "facts", 2, kubernetesVersion="v1", nodes=7)):
                await world.bus.put(put)
            await world.clock.sleep(10)
            found.append(facts_of(known))
        left = await world.bus.get_many(STATE.name, subjects.states_of(C1))
        return found, sorted(message.subject.rpartition(".")[2] for message in left)

    (before, joined, forged, own), left = simulate(2, scenario)
    assert (before, joined, own) == ((3, ""), (0, ""), (7, ""))
    assert forged[1].startswith("secrets: ")
    assert left == ["facts", "session"]


@pytest.mark.parametrize("forged_since", [False, True])
def test_a_restart_takes_away_what_a_former_cluster_left_and_nothing_else(forged_since: bool) -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[str, list[str]]:
        world = World(loop, chance)
        await world.bus.put(signed(OLD, "facts", 2, kubernetesVersion="v1", nodes=3))
        await world.clock.sleep(60)
        joined = cluster("doc-2", NEW).model_copy(update={"created_at": world.clock.now()})
        await world.put_document(joined)
        if forged_since:
            await world.bus.put(signed(OLD, "secrets", 1))
        async with world.following() as known:
            await world.clock.sleep(10)
            found = facts_of(known)
        left = await world.bus.get_many(STATE.name, subjects.states_of(C1))
        return found[1].partition(":")[0], [message.subject.rpartition(".")[2] for message in left]

    assert simulate(3, scenario) == (("secrets", ["secrets"]) if forged_since else ("", []))


def test_what_stays_refused_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that lies under a session of its own costs a controller that starts one more look, not all its time."""
    looks: list[str] = []
    get_many = SimulatedBus.get_many

    async def counted(self: SimulatedBus, stream: str, subject: str, **more: Any) -> list[Message]:
        looks.append(subject)
        return await get_many(self, stream, subject, **more)

    async def scenario(loop: VirtualLoop, chance: Random) -> str:
        world = World(loop, chance)
        await world.put_document(cluster("doc-1", OLD))
        await world.bus.put(signed(OLD, "session", 1))
        await world.bus.put(signed(NEW, "facts", 2, kubernetesVersion="v1", nodes=3))
        async with world.following() as known:
            await world.clock.sleep(600)
            return facts_of(known)[1]

    monkeypatch.setattr(SimulatedBus, "get_many", counted)
    assert simulate(4, scenario).startswith("facts: ")
    assert 0 < len(looks) < 3
