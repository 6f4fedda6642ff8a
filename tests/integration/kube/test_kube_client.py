"""The client against a real API server that goes away, restarts, and knows ServiceAccounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.certificates import Issued
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import KubeEvent, Resource
from fleetbus.schemas.errors import ApplyRefused, KubeUnavailable, SettingsInvalid

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)
SECRET = Resource("", "v1", "secrets", "Secret", True)
CLOCK = SystemClock()


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient(KubeAccess.from_kubeconfig(control_plane.kubeconfig), CLOCK) as client:
        yield client


def config_map(name: str, value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}


async def apply(kube: KubeClient, namespace: str, name: str, value: str = "1") -> None:
    await kube.apply(CONFIG_MAP, namespace, name, config_map(name, value), field_manager="test")


async def until(events: AsyncIterator[KubeEvent], kind: str, name: str = "") -> list[KubeEvent]:
    seen: list[KubeEvent] = []
    async with asyncio.timeout(60):
        async for event in events:
            seen.append(event)
            if event.type == kind and (event.object.get("metadata") or {}).get("name", "") == name:
                return seen
    raise AssertionError("the watch ended")


async def test_a_watch_survives_the_death_of_the_api_server(new_control_plane: ControlPlaneFactory) -> None:
    cluster = await new_control_plane()
    async with KubeClient(KubeAccess.from_kubeconfig(cluster.kubeconfig), CLOCK) as kube:
        await apply(kube, "default", "before")
        stream = kube.watch(CONFIG_MAP, namespace="default")
        async with aclosing(stream) as events:
            await until(events, "SYNCED")
            await cluster.kill_apiserver()
            with pytest.raises(KubeUnavailable):
                await kube.get(CONFIG_MAP, "default", "before")
            with pytest.raises(KubeUnavailable):
                await apply(kube, "default", "meanwhile")
            await cluster.start_apiserver()
            await apply(kube, "default", "after")
            seen = await until(events, "ADDED", "after")
            assert not [event for event in seen if event.type == "DELETED"]


async def test_a_service_account_sees_what_its_role_allows(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    async with AgentFolder(control_plane, tmp_path, namespace=namespace, account="default") as folder:
        access = KubeAccess.from_folder(folder.dir)
        assert access.namespace == namespace
        async with KubeClient(access, CLOCK) as kube:
            assert (await kube.version()).startswith("v1.")
            with pytest.raises(ApplyRefused, match="is forbidden") as refused:
                await kube.get(CONFIG_MAP, namespace, "kube-root-ca.crt")
            assert refused.value.status == 403
            with pytest.raises(ApplyRefused) as refused:
                await kube.get(SECRET, namespace, "any")
            assert refused.value.message == "Forbidden (403)"


async def test_a_token_that_is_not_accepted_is_read_again(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    async with AgentFolder(control_plane, tmp_path, namespace=namespace, account="default") as folder:
        good = (folder.dir / "token").read_text()
        (folder.dir / "token").write_text("no token")
        async with KubeClient(KubeAccess.from_folder(folder.dir), CLOCK) as kube:
            with pytest.raises(KubeUnavailable, match="401"):
                await kube.resources()
            (folder.dir / "token").write_text(good)
            assert await kube.resources()


async def test_keys_of_the_cluster_are_read_by_path(kube: KubeClient) -> None:
    assert (await kube.read_path("/openid/v1/jwks"))["keys"]
    assert (await kube.read_path("/.well-known/openid-configuration"))["issuer"]


async def test_another_authority_is_not_trusted(control_plane: ControlPlane, authority: Issued) -> None:
    other = KubeAccess(control_plane.server, authority.certificate.decode(), token="none")
    async with KubeClient(other, CLOCK) as kube:
        with pytest.raises(KubeUnavailable, match=r"[Cc]ertificate"):
            await kube.version()


async def test_an_authority_that_is_none_is_a_wrong_setting(control_plane: ControlPlane) -> None:
    with pytest.raises(SettingsInvalid):
        async with KubeClient(KubeAccess(control_plane.server, "no PEM", token="none"), CLOCK):
            pass


async def test_watches_take_no_request_s_place(kube: KubeClient, namespace: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(40):
            stream = kube.watch(CONFIG_MAP, namespace=namespace)
            await until(await stack.enter_async_context(aclosing(stream)), "SYNCED")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(apply(kube, namespace, f"settings-{number}"))
        assert len(await kube.list(CONFIG_MAP, namespace=namespace)) == 65


async def test_a_list_of_many_is_read_by_pages(kube: KubeClient, namespace: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(620):
            group.create_task(apply(kube, namespace, f"settings-{number:03}"))
    found = await kube.list(CONFIG_MAP, namespace=namespace, metadata_only=True)
    assert len({item["metadata"]["name"] for item in found}) == len(found) == 621
