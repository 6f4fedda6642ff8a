"""Whoever resumes with the last sequence sees every event once and in order, whatever happens to the server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.client import Context, Event, connect, save_context
from fleetbus.local.files import write_whole
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Put
from fleetbus.schemas import api, subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.credentials import credential_text
from fleetbus.schemas.errors import (
    BusUnavailable,
    DocumentInvalid,
    NotFound,
    NotPermitted,
    SettingsInvalid,
    Stale,
)
from fleetbus.schemas.events import Transition, cloud_event
from fleetbus.schemas.streams import EVENTS
from tests.bus_server import FleetServer, fleet_server
from tests.tokens import user_credential
from tests.waiting import wait_until

CLOCK = SystemClock()
ROOT = Path(__file__).parents[3]


@dataclass(slots=True)
class World:
    """A server of this test alone, the controller's hands, and contexts for others."""

    fleet: FleetServer
    controller: NatsBus
    folder: Path
    written: list[str] = field(default_factory=list)

    def context(self, who: str = "subscriber") -> Context:
        text = credential_text(self.fleet.credentials[who])
        creds = write_whole(self.folder / f"{who}.creds", text, secret=True)
        authority = write_whole(self.folder / "ca.crt", self.fleet.ca_pem)
        return Context("test", (self.fleet.server.url,), creds, who, authority, "test")

    async def emit(self, count: int, type_: str = "bundle.applied", cluster: str = "c1") -> None:
        """Write events, each again until it is stored, expecting what was stored before."""
        for _ in range(count):
            number = len(self.written) + 1
            transition = Transition(
                sequence=number,
                at=CLOCK.now(),
                type=type_,
                subject="bundle/shop",
                reason="Applied",
                message=str(number),
            )
            body = cloud_event("test", cluster, "origin", transition).to_bytes()
            put = Put(subjects.emit("main", cluster, type_), body, headers={"Nats-Msg-Id": str(number)})
            while True:
                with suppress(BusUnavailable):
                    await self.controller.put(put)
                    break
                await self.controller.wait_connected()
            self.written.append(str(number))


@pytest.fixture
async def world(processes: Processes, server_dir: Path, tmp_path: Path) -> AsyncIterator[World]:
    name = f"events-{CLOCK.identifier()}"
    async with fleet_server(processes, server_dir, name) as fleet, fleet.bus("controller") as controller:
        yield World(fleet, controller, tmp_path)


async def take(world: World, since: int | None, count: int, type: str = "*") -> list[Event]:
    """The next events for a subscriber that connects anew and leaves again."""
    found: list[Event] = []
    async with (
        asyncio.timeout(30),
        connect(world.context()) as fleet,
        aclosing(fleet.events(type, since)) as events,
    ):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_from_now_on_means_nothing_older(world: World) -> None:
    await world.emit(25)
    async with connect(world.context()) as fleet, asyncio.timeout(20):
        events = fleet.events()
        first = asyncio.ensure_future(anext(events))
        while not first.done():
            await world.emit(1)
            await asyncio.wait([first], timeout=0.02)
        assert int(first.result().data["message"]) > 25
        await events.aclose()


async def test_who_resumes_sees_each_once_and_in_order(world: World) -> None:
    await world.emit(1200)
    seen: list[Event] = []
    for count in (1, 499, 500, 37, 163):
        seen += await take(world, seen[-1].sequence if seen else 0, count)
    assert [event.data["message"] for event in seen] == world.written
    assert [event.sequence for event in seen] == sorted({event.sequence for event in seen})


async def test_a_pattern_gives_its_types_only(world: World) -> None:
    for type_ in ("bundle.applied", "secret.synced", "bundle.healthy", "cluster.connected"):
        await world.emit(2, type_)
    bundles = await take(world, 0, 4, type="bundle.*")
    assert [event.short_type for event in bundles] == ["bundle.applied"] * 2 + ["bundle.healthy"] * 2
    assert [event.short_type for event in await take(world, 0, 2, type="secret.synced")] == [
        "secret.synced"
    ] * 2
    assert bundles[0].cluster == "c1"
    with pytest.raises(DocumentInvalid):
        await take(world, 0, 1, type="Bundle")


async def test_a_moment_and_an_end(world: World) -> None:
    await world.emit(3)
    await CLOCK.sleep(0.05)
    moment = CLOCK.now()
    await world.emit(4)
    async with connect(world.context()) as fleet:
        late = [event async for event in fleet.events(since=moment, follow=False)]
        all_ = [event async for event in fleet.events(since=0, follow=False)]
    assert [event.data["message"] for event in late] == ["4", "5", "6", "7"]
    assert len(all_) == 7


async def test_a_sequence_beyond_the_stream_is_refused(world: World) -> None:
    await world.emit(3)
    with pytest.raises(Stale, match="beyond the newest event, 3"):
        await take(world, 400, 1)


async def test_nothing_is_missing_or_doubled_when_the_server_is_killed_again_and_again(world: World) -> None:
    count = 600
    seen: list[Event] = []

    async def subscriber() -> None:
        async with connect(world.context()) as fleet, aclosing(fleet.events(since=0)) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == count:
                    return

    async def trouble() -> None:
        for goal in (100, 250, 400):
            await wait_until(_reached(world, goal), CLOCK, 30)
            await world.fleet.server.kill()
            await world.fleet.server.start()

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        tasks.create_task(subscriber())
        tasks.create_task(trouble())
        tasks.create_task(world.emit(count))
    assert [event.data["message"] for event in seen] == world.written


def _reached(world: World, goal: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return len(world.written) >= goal

    return reached


async def test_a_subscriber_that_lives_through_a_restart_without_events_goes_on(world: World) -> None:
    async with connect(world.context()) as fleet, asyncio.timeout(40):
        events = fleet.events(since=0)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.wait([waiting], timeout=0.2)
        await world.fleet.server.kill()
        await world.fleet.server.start()
        await world.controller.wait_connected()
        await world.emit(1)
        assert (await waiting).data["message"] == "1"
        await events.aclose()


async def test_the_example_follows_and_resumes(world: World) -> None:
    config = world.folder / "config.yaml"
    save_context(world.context(), file=config)
    environment = os.environ | {"FLEETBUS_CONFIG": str(config)}
    position = world.folder / "position"
    position.write_text("0")
    await world.emit(5)
    said = ""
    for count in (2, 3):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "docs/examples/subscribe.py"),
            *("--type", "bundle.*", "--position", str(position), "--count", str(count)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        said += out.decode()
    lines = [line for line in said.splitlines() if line != "subscribed"]
    assert [line.rsplit(": ")[1] for line in lines] == world.written
    assert lines[0].endswith("bundle.applied bundle/shop in c1: 1")


async def test_a_verb_is_answered_and_errors_are_the_controllers(world: World) -> None:
    async def answer(endpoint: str, _message: object) -> bytes:
        if endpoint == "overview":
            return canonical(api.Answer(ok=True, result=api.Overview(fleet="test").as_json()).as_json())
        refused = NotFound("there is no bundle", where=endpoint, remedy="look again")
        return canonical(api.Answer(ok=False, error=api.report(refused)).as_json())

    endpoints = {verb: subjects.api(verb) for verb in api.VERBS}
    serving = asyncio.create_task(
        world.controller.serve(api.SERVICE_NAME, "1.0.0", "test", endpoints, answer)
    )
    async with connect(world.context("operator")) as fleet:

        async def answers() -> bool:
            try:
                return (await fleet.overview()).fleet == "test"
            except BusUnavailable:
                return False

        assert await wait_until(answers, CLOCK, 10)
        with pytest.raises(NotFound) as raised:
            await fleet.describe("Bundle", "shop")
        assert (raised.value.message, raised.value.remedy) == ("there is no bundle", "look again")
        serving.cancel()
        await asyncio.wait([serving])
    async with connect(world.context("operator")) as fleet:
        with pytest.raises(BusUnavailable, match="no controller answers"):
            await fleet.overview()


async def test_a_subscriber_may_not_ask_the_controller(world: World) -> None:
    async with connect(world.context("subscriber")) as fleet:
        with pytest.raises(NotPermitted):
            await fleet.overview()


async def test_what_hinders_a_connection_is_said(world: World, processes: Processes) -> None:
    context = world.context()
    text = context.creds_file.read_text()
    write_whole(context.creds_file, text.replace(world.fleet.seed("subscriber")[-6:], "AAAAAA"), secret=True)
    with pytest.raises(SettingsInvalid):
        async with connect(context):
            pass
    stranger = user_credential(SigningKey.generate())
    write_whole(context.creds_file, credential_text(stranger), secret=True)
    with pytest.raises(NotPermitted, match="does not know the key"):
        async with connect(context):
            pass
    await world.fleet.server.stop()
    with pytest.raises(BusUnavailable, match="no connection to"):
        async with connect(world.context()):
            pass
    await world.fleet.server.start()


def test_events_are_stored_for_a_week() -> None:
    assert EVENTS.max_age_s == 7 * 24 * 3600
