"""What holds of every command driver, on a real API server: one harness, one line here for a new driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import pytest

from fleetbus.agent.capabilities.commands.drivers import Driver, Progress, Tools
from fleetbus.agent.capabilities.commands.drivers.catalogue import DRIVERS
from fleetbus.agent.capabilities.commands.drivers.job import Job
from fleetbus.agent.capabilities.commands.drivers.rehearsal import Rehearsal
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.capabilities.commands import ID_LABEL
from fleetbus.schemas.errors import AlreadyExists
from tests.waiting import wait_until

CLOCK = SystemClock()
SYSTEM = "fleetbus-system"
OUTCOME = "stage.fleetbus.dev/outcome"


def never() -> NoReturn:
    raise AssertionError("nobody asked it to die")


@dataclass(slots=True)
class Bench:
    """One driver, and the arguments with which it succeeds, fails, hangs, is wrong."""

    driver: Driver
    kube: KubeClient
    succeeds: Mapping[str, Any]
    fails: Mapping[str, Any]
    hangs: Mapping[str, Any]
    wrong: Mapping[str, Mapping[str, Any]]
    """Field → arguments in which it is wrong."""

    def __post_init__(self) -> None:
        self.id = CLOCK.identifier()

    id: str = ""

    async def effects(self) -> list[dict[str, Any]]:
        return await self.kube.list(self.driver.effect, label_selector=f"{ID_LABEL}={self.id}")

    async def until(self, *phases: str | None) -> Progress | None:
        last: list[Progress | None] = []

        async def reached() -> bool:
            last[:] = [await self.driver.observe(self.id)]
            return (last[0].phase if last[0] else None) in phases

        assert await wait_until(reached, CLOCK, 30.0), last
        return last[0]


def _rehearsal(kube: KubeClient, namespace: str) -> Bench:
    def told(outcome: str) -> dict[str, Any]:
        return {"outcome": outcome, "steps": 2, "stepS": 0.05}

    wrong: dict[str, dict[str, Any]] = {
        "outcome": {"outcome": "sings"},
        "steps": {"steps": 0},
        "colour": {"colour": "red"},
    }
    driver = Rehearsal(Tools(kube, CLOCK, never))
    return Bench(driver, kube, told("succeeds"), told("fails"), told("hangs"), wrong)


def _job(kube: KubeClient, namespace: str) -> Bench:
    def told(outcome: str) -> dict[str, Any]:
        labels = {OUTCOME: outcome} if outcome else {}
        return {"namespace": namespace, "image": "example/tool:1", "podLabels": labels}

    wrong: dict[str, dict[str, Any]] = {
        "image": {"namespace": namespace},
        "backoffLimit": {"image": "a", "backoffLimit": 99},
        "namespace": {"image": "a", "namespace": "not-there"},
        "podLabels": {"image": "a", "namespace": namespace, "podLabels": {ID_LABEL: "x"}},
    }
    return Bench(Job(Tools(kube, CLOCK, never)), kube, told(""), told("fail"), told("hang"), wrong)


BENCHES = {"job": _job, "rehearsal": _rehearsal}


@pytest.fixture(scope="session")
async def system_namespace(control_plane: ControlPlane) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    try:
        await control_plane.admin.create("/api/v1/namespaces", body)
    except AlreadyExists:
        return


@pytest.fixture(params=sorted(BENCHES))
async def bench(
    request: pytest.FixtureRequest, control_plane: ControlPlane, namespace: str, system_namespace: None
) -> AsyncIterator[Bench]:
    access = KubeAccess.from_kubeconfig(control_plane.kubeconfig)
    async with KubeClient(access, CLOCK) as kube:
        made = BENCHES[cast("str", request.param)](kube, namespace)
        yield made
        await made.driver.abort(made.id)


def test_every_driver_has_its_bench() -> None:
    kube = cast("KubeClient", None)
    assert {make(Tools(kube, CLOCK, never)).name for make in DRIVERS} == set(BENCHES)


async def test_good_arguments_have_no_finding_and_change_nothing(bench: Bench) -> None:
    for arguments in (bench.succeeds, bench.fails, bench.hangs):
        assert await bench.driver.preflight(arguments) is None
    assert await bench.effects() == []


async def test_a_finding_names_the_field(bench: Bench) -> None:
    for field, arguments in bench.wrong.items():
        finding = await bench.driver.preflight(arguments)
        assert finding is not None
        assert finding.startswith(f"arguments.{field}: ")


async def test_what_never_started_is_not_there(bench: Bench) -> None:
    assert await bench.driver.observe(bench.id) is None
    await bench.driver.abort(bench.id)


async def test_it_succeeds(bench: Bench) -> None:
    await bench.driver.start(bench.id, bench.succeeds)
    done = await bench.until("Succeeded")
    assert done is not None
    assert (done.percent, bool(done.message), bool(done.seen)) == (100, True, True)


async def test_it_fails_with_a_message(bench: Bench) -> None:
    await bench.driver.start(bench.id, bench.fails)
    done = await bench.until("Failed")
    assert done is not None
    assert done.message
    assert done.percent < 100


async def test_starting_again_has_no_second_effect(bench: Bench) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(bench.driver.start(bench.id, bench.succeeds))
    await bench.until("Succeeded")
    await bench.driver.start(bench.id, bench.succeeds)
    effects = await bench.effects()
    assert len(effects) == 1
    assert effects[0]["metadata"]["labels"][ID_LABEL] == bench.id


async def test_another_instance_finds_by_the_id_what_was_started(bench: Bench) -> None:
    await bench.driver.start(bench.id, bench.succeeds)
    other = type(bench.driver)(Tools(bench.kube, CLOCK, never))  # type: ignore[call-arg]
    bench.driver = other
    await bench.until("Succeeded")


async def test_what_hangs_runs_until_it_is_aborted(bench: Bench) -> None:
    await bench.driver.start(bench.id, bench.hangs)
    running = await bench.until("Running")
    assert running is not None
    assert running.percent < 100
    await bench.driver.abort(bench.id)
    assert await bench.until(None) is None
    await bench.driver.abort(bench.id)


async def test_the_effects_watch_tells_of_the_end(bench: Bench) -> None:
    await bench.driver.start(bench.id, bench.hangs)
    started = await bench.until("Running")
    assert started is not None
    watch = bench.kube.watch(bench.driver.effect, label_selector=f"{ID_LABEL}={bench.id}")
    async with asyncio.timeout(20):
        async for event in watch:
            if event.type == "SYNCED":
                await bench.driver.abort(bench.id)
            if event.type == "DELETED":
                return
