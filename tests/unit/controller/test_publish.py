"""Heads are issued again at half of their validity; one cluster's trouble holds up no other. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.controller.artifacts import Artifacts, digests_in
from fleetbus.controller.fence import Fence
from fleetbus.controller.leader import Term, TermRecord
from fleetbus.controller.ports import Capability, ClusterView, Outcome, Section, View
from fleetbus.controller.publish import VALID, Publisher
from fleetbus.controller.server_time import AHEAD, ServerTime
from fleetbus.controller.views import Known
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.desired import Head
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.signing import signer, unverified
from fleetbus.schemas.streams import ARTIFACTS, DESIRED
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.bus import SimulatedServer
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate

AT = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = timedelta(days=7).total_seconds()


async def _nothing(*_: Any) -> Outcome:
    return Outcome()


def _section(cluster: ClusterView, view: View, now: datetime) -> Section | None:
    if cluster.id.name == "bad":
        raise ValueError("a mistake of a capability's")
    return Section(1, {"for": "everybody"})


CAPABILITY = Capability("bundles", "Bundle", _nothing, lambda *_: [], lambda *_: [], section=_section)


def cluster(name: str, realm: str = "main") -> Stored:
    spec = {"key": "U", "uid": f"uid-{name}", "realm": realm}
    return Stored(kind="Cluster", name=name, uid=name, generation=1, created_at=AT, updated_at=AT, spec=spec)


async def head_of(bus: Bus, name: str, realm: str = "main") -> Head | None:
    last = await bus.get_last(DESIRED.name, subjects.desired(ClusterId(realm, name)))
    return Head.from_bytes(unverified(last.data)) if last else None


class Desk:
    """A publisher on a simulated server, under a term that it holds."""

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.clock = VirtualClock(loop, chance)
        self.bus = SimulatedServer(self.clock, chance).bus("controller")
        self.known = Known("test")
        self.time = ServerTime(self.clock)
        self.artifacts = Artifacts(self.bus, self.time)

    async def publisher(self, fence: type[Fence] = Fence) -> Publisher:
        record = TermRecord(term=1, holder="x", epoch=1)
        sequence = await self.bus.put(Put(subjects.TERM, record.to_bytes(), expected=0))
        self.fence = fence(self.bus, Term(1, sequence, 1, None))
        sign = signer(SigningKey(b"\x01" * 32))
        return Publisher(
            self.bus, self.clock, self.known, self.fence, self.artifacts, [CAPABILITY], sign, self.time
        )


def test_a_head_is_issued_again_at_half_of_its_validity_and_not_before() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[Head | None]:
        desk = Desk(loop, chance)
        desk.known.put_document(cluster("c1"))
        publisher = await desk.publisher()
        tasks = [asyncio.create_task(publisher.run()), asyncio.create_task(publisher.reissue())]
        seen = []
        for pause in (timedelta(minutes=1), VALID / 2 - timedelta(hours=1), timedelta(hours=2)):
            await desk.clock.sleep(pause.total_seconds())
            seen.append(await head_of(desk.bus, "c1"))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return seen

    first, same, second = simulate(1, scenario, limit_s=LONG_S)
    assert first is not None
    assert second is not None
    assert same == first
    assert second.set == first.set
    assert second.serial > first.serial
    assert second.not_after > first.not_after


def test_a_capability_that_fails_for_one_cluster_holds_up_no_other() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[bool]:
        desk = Desk(loop, chance)
        for name in ("bad", "c1", "c2"):
            desk.known.put_document(cluster(name))
        publisher = await desk.publisher()
        running = asyncio.create_task(publisher.run())
        await desk.clock.sleep(5)
        running.cancel()
        await asyncio.wait([running])
        return [await head_of(desk.bus, name) is not None for name in ("bad", "c1", "c2")]

    assert simulate(1, scenario) == [False, True, True]


class SlowFence(Fence):
    """Writes when it is told to."""

    def __init__(self, bus: Bus, term: Term) -> None:
        super().__init__(bus, term)
        self.asked, self.may_write = asyncio.Event(), asyncio.Event()

    async def put(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.asked.set()
        await self.may_write.wait()
        await super().put(messages)


@pytest.mark.parametrize("seed", range(5))
def test_a_head_that_comes_after_its_clusters_removal_is_taken_away(seed: int) -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[bool, Head | None]:
        desk = Desk(loop, chance)
        desk.known.put_document(cluster("c1"))
        publisher = await desk.publisher(SlowFence)
        desk.known.listeners.append(publisher.changed)
        running = asyncio.create_task(publisher.run())
        fence = desk.fence
        assert isinstance(fence, SlowFence)
        await fence.asked.wait()
        await publisher.forget(ClusterId("main", "c1"))
        desk.known.drop_document(("Cluster", "c1"))
        fence.may_write.set()
        await desk.clock.sleep(5)
        running.cancel()
        await asyncio.wait([running])
        return ClusterId("main", "c1") in desk.known.heads, await head_of(desk.bus, "c1")

    assert simulate(seed, scenario) == (False, None)


def test_a_cluster_in_another_realm_leaves_no_mailbox_in_the_old_one() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[bool]:
        desk = Desk(loop, chance)
        desk.known.put_document(cluster("c1"))
        publisher = await desk.publisher()
        desk.known.listeners.append(publisher.changed)
        running = asyncio.create_task(publisher.run())
        await desk.clock.sleep(5)
        assert await head_of(desk.bus, "c1") is not None
        desk.known.put_document(cluster("c1", "edge"))
        await desk.clock.sleep(5)
        running.cancel()
        await asyncio.wait([running])
        return [await head_of(desk.bus, "c1", realm) is not None for realm in ("main", "edge")]

    assert simulate(1, scenario) == [False, True]


def test_the_sweep_takes_what_is_old_and_named_by_nothing() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> Mapping[str, list[str]]:
        desk = Desk(loop, chance)
        objects, forgotten = artifact({"objects": ["x" * 2_000_000]}), artifact({"objects": ["old"]})
        content = artifact({"bundles": [{"artifact": objects.name}]})
        whole = artifact({"sections": {"bundles": {"version": 1, "digest": content.name}}})
        await desk.artifacts.store([objects, forgotten, content, whole])
        before = await stored(desk.bus)
        early = await desk.artifacts.sweep([whole.name], lambda: True)
        await desk.clock.sleep(timedelta(days=1, minutes=1).total_seconds())
        await desk.artifacts.store([artifact({"objects": ["new"]})])
        refused = await desk.artifacts.sweep([whole.name], lambda: False)
        swept = await desk.artifacts.sweep([whole.name], lambda: True)
        assert (early, refused, swept) == (0, 0, 1)
        await desk.artifacts.fetch(objects.name)
        return {"gone": sorted(set(before) - set(await stored(desk.bus))), "meant": [forgotten.name]}

    found = simulate(1, scenario, limit_s=LONG_S)
    assert found["gone"] == found["meant"]


def test_an_artifact_is_put_again_when_the_sweep_could_take_it() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[int]:
        desk = Desk(loop, chance)
        one = artifact({"a": 1})
        sequences = []
        for hours in (0, 1, 12):
            await desk.clock.sleep(hours * 3600)
            await Artifacts(desk.bus, desk.time).store([one])
            await desk.artifacts.store([one])
            last = await desk.bus.get_last(ARTIFACTS.name, subjects.artifact(one.name))
            sequences.append(last.sequence if last else 0)
        return sequences

    first, soon, later = simulate(1, scenario, limit_s=LONG_S)
    assert first == soon < later


async def stored(bus: Bus) -> list[str]:
    messages = await bus.get_many(ARTIFACTS.name, subjects.ALL_ARTIFACTS)
    return [subjects.parse_artifact(message.subject) or "" for message in messages]


@pytest.mark.parametrize("value", ["a" * 64, ["a" * 64], {"x": {"y": ["no", "a" * 64]}}])
def test_digests_are_found_wherever_they_stand(value: Any) -> None:
    assert digests_in(value) == {"a" * 64}
    assert digests_in({"a" * 64: "A" * 64, "n": 7, "s": "a" * 63}) == set()


def test_a_bus_whose_time_runs_ahead_makes_no_head_valid_for_years() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> tuple[list[Head | None], datetime]:
        desk = Desk(loop, chance)
        publisher = await desk.publisher()
        desk.known.put_document(cluster("c1"))
        desk.time.heard(datetime(2100, 1, 1, tzinfo=UTC))
        publishing = asyncio.create_task(publisher.run())
        await desk.clock.sleep(5)
        first = await head_of(desk.bus, "c1")
        publisher.publish_all()
        await desk.clock.sleep(5)
        second = await head_of(desk.bus, "c1")
        publishing.cancel()
        return [first, second], desk.clock.now()

    (first, second), now = simulate(3, scenario)
    assert first is not None
    assert first.not_after < now + VALID + 2 * AHEAD
    assert second == first
