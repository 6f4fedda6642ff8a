"""A cluster obeys its list of commands on a real apiserver: Jobs run, progress and results come, cancels end them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import pytest

from fleetbus.agent.capabilities import commands
from fleetbus.agent.capabilities.commands.drivers.job import JOB
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.capabilities import commands as schema
from fleetbus.schemas.capabilities.commands import ID_LABEL
from fleetbus.schemas.desired import Command
from fleetbus.schemas.errors import AlreadyExists, KubeUnavailable
from fleetbus.schemas.states import RESULT_ASPECT, CommandResult, Results
from tests.agent_ports import MemoryKeep, Side, ports

CLOCK = SystemClock()
SYSTEM = "fleetbus-system"
OUTCOME = "stage.fleetbus.dev/outcome"


class Died(BaseException):
    """The process would end here."""


def die() -> NoReturn:
    raise Died


@dataclass(slots=True)
class World:
    """One cluster's agent for commands, and the list that it is told."""

    plane: ControlPlane
    namespace: str
    kube: KubeClient
    keep: MemoryKeep = field(default_factory=MemoryKeep)

    def side(self) -> Side:
        capability = replace(commands.CAPABILITY, start=partial(commands.start, die=die))
        return Side(capability, ports(self.kube, keep=self.keep))

    def job(self, outcome: str = "", **more: Any) -> Command:
        labels = {OUTCOME: outcome} if outcome else {}
        arguments = {"namespace": self.namespace, "image": "example/tool:1", "podLabels": labels}
        return self.command(schema.DRIVER_JOB, arguments | more)

    def rehearsal(self, outcome: str) -> Command:
        return self.command(schema.DRIVER_REHEARSAL, {"outcome": outcome, "steps": 2, "stepS": 0.05})

    def command(self, driver: str, arguments: dict[str, Any], *, deadline_s: float = 60.0) -> Command:
        now = CLOCK.now()
        deadline = now + timedelta(seconds=deadline_s)
        return Command(
            id=CLOCK.identifier(), driver=driver, arguments=arguments, issued_at=now, deadline=deadline
        )

    async def jobs(self, command: Command) -> list[dict[str, Any]]:
        return await self.kube.list(JOB, label_selector=f"{ID_LABEL}={command.id}")


def told(*listed: Command) -> dict[str, Any]:
    return {"commands": [command.as_json() for command in listed]}


def result(side: Side, command: Command) -> CommandResult:
    found = Results.from_json(side.bodies.get(RESULT_ASPECT, {})).commands
    missing = CommandResult(id=command.id, driver="", phase="Missing")
    return next((one for one in found if one.id == command.id), missing)


async def until_phase(side: Side, command: Command, phase: str) -> CommandResult:
    await side.until(lambda: result(side, command).phase == phase, 30.0)
    return result(side, command)


@pytest.fixture
async def world(control_plane: ControlPlane, namespace: str) -> AsyncIterator[World]:
    try:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
        await control_plane.admin.create("/api/v1/namespaces", body)
    except AlreadyExists:
        pass
    async with AsyncExitStack() as stack:
        access = KubeAccess.from_kubeconfig(control_plane.kubeconfig)
        kube = await stack.enter_async_context(KubeClient(access, CLOCK))
        yield World(control_plane, namespace, kube)


async def test_jobs_run_one_after_the_other_and_their_ends_are_told(world: World) -> None:
    good, bad, last = world.job(), world.job("fail"), world.job()
    async with world.side() as side:
        side.tell(told(good, bad, last))
        done = await until_phase(side, last, schema.PHASE_SUCCEEDED)
        assert done.progress_percent == 100
        assert done.output["job"] == f"{world.namespace}/fleetbus-{last.id}"
        failed = result(side, bad)
        assert (failed.phase, "BackoffLimitExceeded" in failed.message) == (schema.PHASE_FAILED, True)
        first, second = result(side, good), failed
        assert first.finished_at
        assert second.started_at
        assert first.finished_at <= second.started_at
    assert side.types() == [
        *("command.started", "command.succeeded"),
        *("command.started", "command.failed"),
        *("command.started", "command.succeeded"),
    ]


async def test_a_running_job_is_cancelled_and_the_next_starts(world: World) -> None:
    hanging, last = world.job("hang"), world.job()
    async with world.side() as side:
        side.tell(told(hanging, last))
        await until_phase(side, hanging, schema.PHASE_RUNNING)
        assert result(side, last).message == f"it waits for command {hanging.id}"
        side.tell(told(hanging.model_copy(update={"cancelled": True}), last))
        await until_phase(side, hanging, schema.PHASE_CANCELLED)
        assert await world.jobs(hanging) == []
        await until_phase(side, last, schema.PHASE_SUCCEEDED)


async def test_what_cannot_start_says_why_and_leaves_no_trace(world: World) -> None:
    late = world.command(schema.DRIVER_JOB, {"image": "a"}, deadline_s=-1)
    wrong = world.command(schema.DRIVER_JOB, {"imagee": "a", "image": "a"})
    nowhere = world.job(namespace="not-there")
    unknown = world.command("rocket", {})
    refused = world.job(serviceAccount="Not A Name")
    async with world.side() as side:
        side.tell(told(late, wrong, nowhere, unknown, refused))
        await until_phase(side, refused, schema.PHASE_REFUSED)
        assert result(side, late).phase == schema.PHASE_EXPIRED
        assert result(side, wrong).message.startswith(
            "arguments.imagee: there is no such argument; there are "
        )
        assert "`not-there`" in result(side, nowhere).message
        assert "`rocket`" in result(side, unknown).message
        assert "serviceAccountName" in result(side, refused).message
    assert "command.started" not in side.types()
    for command in (late, wrong, nowhere, unknown, refused):
        assert await world.jobs(command) == []


async def live_until_it_dies(world: World, *listed: Command) -> None:
    async with world.side() as side:
        side.tell(told(*listed))
        await side.until(lambda: side.dead)


async def test_an_agent_that_comes_back_finds_what_runs_and_starts_nothing_twice(world: World) -> None:
    hanging, dying = world.job("hang"), world.rehearsal("dies")
    async with world.side() as side:
        side.tell(told(hanging))
        await until_phase(side, hanging, schema.PHASE_RUNNING)
    (before,) = await world.jobs(hanging)
    async with world.side() as side:
        side.tell(told(hanging, dying))
        await until_phase(side, hanging, schema.PHASE_RUNNING)
        (after,) = await world.jobs(hanging)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
    with pytest.raises(Died):
        await live_until_it_dies(world, hanging.model_copy(update={"cancelled": True}), dying)
    async with world.side() as side:
        side.tell(told(dying))
        done = await until_phase(side, dying, schema.PHASE_SUCCEEDED)
        assert done.output["effects"] == 1


async def test_a_job_that_somebody_deletes_has_failed(world: World) -> None:
    hanging = world.job("hang")
    async with world.side() as side:
        side.tell(told(hanging))
        await until_phase(side, hanging, schema.PHASE_RUNNING)
        path = f"/apis/batch/v1/namespaces/{world.namespace}/jobs/fleetbus-{hanging.id}"
        await side.until(lambda: result(side, hanging).output != {})
        await world.plane.admin.delete(path)
        failed = await until_phase(side, hanging, schema.PHASE_FAILED)
        assert "somebody removed it" in failed.message


async def test_a_halt_holds_new_starts(world: World) -> None:
    job = world.job()
    async with world.side() as side:
        side.tell(told(job), halts=("*",))
        await until_phase(side, job, schema.PHASE_ACCEPTED)
        assert await world.jobs(job) == []
        side.tell(told(job))
        await until_phase(side, job, schema.PHASE_SUCCEEDED)


async def test_without_a_journal_entry_nothing_starts(world: World) -> None:
    job = world.job()
    world.keep.failing = KubeUnavailable("the state cannot be written")
    side = world.side()
    await side.worker.reconcile(replace(side.told, content=told(job)))
    assert await world.jobs(job) == []
    await side.worker.reconcile(replace(side.told, content=told(job)))
    assert len(await world.jobs(job)) == 1


async def test_what_has_left_the_list_is_forgotten_once_it_has_ended(world: World) -> None:
    job = world.job()
    async with world.side() as side:
        side.tell(told(job))
        await until_phase(side, job, schema.PHASE_SUCCEEDED)
        side.tell(told())
        await until_phase(side, job, "Missing")
    assert job.id.encode() not in world.keep.values["journal"]
