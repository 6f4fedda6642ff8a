"""Heads are issued again at half of their validity; one cluster's trouble holds up no other. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
from fleetbus.controller.server_time import ServerTime
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


def cluster(name: str) -> Stored:
    spec = {"key": "U", "uid": f"uid-{name}"}
    return Stored(kind="Cluster", name=name, uid=name, generation=1, created_at=AT, updated_at=AT, spec=spec)


async def head_of(bus: Bus, name: str) -> Head | None:
    last = await bus.get_last(DESIRED.name, subjects.desired(ClusterId("main", name)))
    return Head.from_bytes(unverified(last.data)) if last else None


class Desk:
    """A publisher on a simulated server, under a term that it holds."""

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.clock = VirtualClock(loop, chance)
        self.bus = SimulatedServer(self.clock, chance).bus("controller")
        self.known = Known("test")
        self.time = ServerTime(self.clock)
        self.artifacts = Artifacts(self.bus, self.time)

    async def publisher(self) -> Publisher:
        record = TermRecord(term=1, holder="x", epoch=1)
        sequence = await self.bus.put(Put(subjects.TERM, record.to_bytes(), expected=0))
        fence = Fence(self.bus, Term(1, sequence, 1, None))
        sign = signer(SigningKey(b"\x01" * 32))
        return Publisher(
            self.bus, self.clock, self.known, fence, self.artifacts, [CAPABILITY], sign, self.time
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
