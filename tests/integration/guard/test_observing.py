"""Profile observe: the agent says what it would do, writes nothing, and starts once its owner lets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetbus.agent.capabilities.commands import CAPABILITY as COMMANDS
from fleetbus.agent.capabilities.secrets import CAPABILITY as SECRETS
from fleetbus.agent.manifests import manifests
from fleetbus.agent.rights import Rights
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.schemas.capabilities import bundles as schema
from fleetbus.schemas.capabilities import commands, secrets
from fleetbus.schemas.desired import Command
from fleetbus.schemas.states import RESULT_ASPECT, Results
from tests.agent_ports import Side, ports
from tests.bundles_stand import Stand, config_map
from tests.integration.guard.conftest import give
from tests.simulation.vault import SimulatedVault, SimulatedVaultServer

_HOME = "/api/v1/namespaces/fleetbus-system/configmaps"


@pytest.fixture
async def observed(new_control_plane: ControlPlaneFactory) -> ControlPlane:
    cluster = await new_control_plane()
    async with KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), SystemClock()) as owner:
        await give(owner, manifests("observe"))
        await give(owner, [config_map("theirs", "default", a="b")])
    return cluster


@pytest.fixture
async def kube(observed: ControlPlane, tmp_path: Path) -> AsyncIterator[KubeClient]:
    async with (
        AgentFolder(observed, tmp_path / "agent") as folder,
        KubeClient(KubeAccess.from_folder(folder.dir), SystemClock()) as client,
    ):
        yield client


async def test_it_says_what_it_would_do_and_begins_when_it_may(
    observed: ControlPlane, kube: KubeClient
) -> None:
    rights = Rights(kube)
    await rights.look()
    assert rights.observes
    async with Stand(kube, observes=lambda: rights.observes) as stand:
        stand.tell("app", [config_map("theirs", "default", a="c"), config_map("ours", "default")])
        state = await stand.until("app", "Unknown", schema.REASON_OBSERVE_ONLY, type_=schema.APPLIED)
        condition = stand.condition("app", schema.APPLIED)
        assert condition is not None
        assert condition.message == "would create 1, change 1 of 2 objects; this agent may only observe"
        assert {(one.object, one.reason) for one in state.failing} == {
            ("ConfigMap default/theirs", schema.REASON_OBSERVE_ONLY),
            ("ConfigMap default/ours", schema.REASON_OBSERVE_ONLY),
        }
        assert not await observed.admin.exists("/api/v1/namespaces/default/configmaps/ours")
        assert {one["metadata"]["name"] for one in (await observed.admin.get(_HOME))["items"]} == {
            "kube-root-ca.crt"
        }
        assert stand.side.types() == []
        async with KubeClient(KubeAccess.from_kubeconfig(observed.kubeconfig), SystemClock()) as owner:
            await give(owner, manifests("standard"))
        await rights.look()
        assert not rights.observes
        stand.tell("app", [config_map("theirs", "default", a="d"), config_map("ours", "default")])
        await stand.until("app", "True", schema.REASON_APPLIED, type_=schema.APPLIED)
        async with KubeClient(KubeAccess.from_kubeconfig(observed.kubeconfig), SystemClock()) as owner:
            await give(owner, manifests("observe"))
        await rights.look()
        assert rights.observes
        stand.tell("app", [config_map("theirs", "default", a="e")])
        await stand.until("app", "Unknown", schema.REASON_OBSERVE_ONLY, type_=schema.APPLIED)
        condition = stand.condition("app", schema.APPLIED)
        assert condition is not None
        assert condition.message == "would change 1, remove 1 of 1 objects; this agent may only observe"
        stand.retire("app", count=2)
        await stand.until("app", "Unknown", schema.REASON_OBSERVE_ONLY, type_=schema.APPLIED)
        assert await observed.admin.exists("/api/v1/namespaces/default/configmaps/ours")


async def test_a_bundle_that_was_never_applied_is_retired_at_once(kube: KubeClient) -> None:
    async with Stand(kube, observes=lambda: True) as stand:
        stand.tell("app", [config_map("ours", "default")])
        await stand.until("app", "Unknown", schema.REASON_OBSERVE_ONLY, type_=schema.APPLIED)
        stand.retire("app")
        await stand.side.until(lambda: (state := stand.state("app")) is not None and state.removed)


async def test_a_binding_says_that_its_secret_would_be_written(
    observed: ControlPlane, kube: KubeClient
) -> None:
    server = SimulatedVaultServer()
    server.allow("c1", "main/c1/")
    server.put("main/c1/word", {"word": "canary"})
    entry = secrets.SecretEntry(
        id="id-word", name="word", generation=1, path="main/c1/word", namespace="default", secret="word"
    )
    vault = SimulatedVault(server, "c1", SystemClock())
    async with Side(SECRETS, replace(ports(kube, vault=vault), observes=lambda: True)) as side:
        side.tell(secrets.SecretsSection(secrets=(entry,)).as_json())

        def told() -> bool:
            body = side.bodies.get(secrets.ASPECT)
            states = secrets.SecretsState.from_json(dict(body)).secrets if body else ()
            return any(one.condition.reason == secrets.REASON_OBSERVE_ONLY for one in states)

        await side.until(told)
    assert not await observed.admin.exists("/api/v1/namespaces/default/secrets/word")


async def test_a_command_is_refused(kube: KubeClient) -> None:
    clock = SystemClock()
    command = Command(
        id="c1",
        driver=commands.DRIVER_REHEARSAL,
        issued_at=clock.now(),
        deadline=clock.now() + timedelta(minutes=1),
    )
    async with Side(COMMANDS, replace(ports(kube), observes=lambda: True)) as side:
        side.tell({"commands": [command.as_json()]})
        await side.until(
            lambda: RESULT_ASPECT in side.bodies and bool(side.bodies[RESULT_ASPECT]["commands"])
        )

        def refused() -> bool:
            found = Results.from_json(dict(side.bodies[RESULT_ASPECT])).commands[0]
            return found.phase == commands.PHASE_REFUSED and "only observe" in found.message

        await side.until(refused)
