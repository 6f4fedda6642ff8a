"""A bound Secret follows Vault, is put back, is taken away with a receipt; on a real OpenBao and apiserver."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from fleetbus.agent.capabilities.secrets import CAPABILITY
from fleetbus.local.factories import BaoFactory
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import Vault
from fleetbus.runtime.vault import VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection, SecretsState, SecretState
from fleetbus.schemas.desired import Retired
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.subjects import ClusterId
from tests.agent_ports import MemoryKeep, Side, ports
from tests.vault_cluster import join
from tests.waiting import wait_until

CLOCK = SystemClock()


@dataclass(slots=True)
class World:
    """One joined cluster: its agent's ports, its namespace, and the hands of who owns Vault and cluster."""

    bao: OpenBao
    plane: ControlPlane
    namespace: str
    cluster: ClusterId
    kube: KubeClient
    vault: Vault
    keep: MemoryKeep
    id: str

    @property
    def secret_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets/db"

    @property
    def vault_path(self) -> str:
        return f"main/{self.cluster.name}/db"

    def entry(self, **changes: Any) -> SecretEntry:
        told = {
            "id": self.id,
            "name": "db",
            "generation": 1,
            "path": self.vault_path,
            "namespace": self.namespace,
            "secret": "db",
            "refresh_s": 1.0,
        }
        return SecretEntry.model_validate(told | changes)

    def section(self, **changes: Any) -> dict[str, Any]:
        return SecretsSection(secrets=(self.entry(**changes),)).as_json()

    def side(self, *, vault: Vault | None = None) -> Side:
        return Side(CAPABILITY, ports(self.kube, vault=vault or self.vault, keep=self.keep))

    async def put(self, **values: str) -> None:
        await self.bao.request("POST", f"secret/data/{self.vault_path}", {"data": values})

    async def live(self) -> dict[str, Any]:
        return await self.plane.admin.get(self.secret_path)

    async def values(self) -> dict[str, str]:
        try:
            data = (await self.live()).get("data") or {}
        except NotFound:
            return {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    async def until_values(self, **values: str) -> None:
        async def reached() -> bool:
            return await self.values() == values

        assert await wait_until(reached, CLOCK, 15.0), await self.values()

    def state(self, side: Side) -> SecretState:
        body = SecretsState.from_json(side.bodies.get(schema.ASPECT, {}))
        found = [state for state in body.secrets if state.id == self.id]
        if found:
            return found[0]
        missing = {
            "type": "Synced",
            "status": "Unknown",
            "reason": "Missing",
            "lastTransitionAt": CLOCK.now(),
        }
        return SecretState.from_json({"id": self.id, "name": "", "condition": missing})

    async def until_reason(self, side: Side, reason: str) -> SecretState:
        await side.until(lambda: self.state(side).condition.reason == reason)
        return self.state(side)


async def world_of(
    stack: AsyncExitStack, bao: OpenBao, plane: ControlPlane, namespace: str, folder: Path
) -> World:
    cluster = ClusterId("main", f"c{CLOCK.identifier()}")
    admin = await stack.enter_async_context(VaultAdmin(bao.address, bao.root_token, bao.ca_file))
    joined = await join(admin, cluster, bao.address, bao.ca_file, folder)
    vault = await stack.enter_async_context(VaultClient(joined.access, CLOCK))
    access = KubeAccess.from_kubeconfig(plane.kubeconfig)
    kube = await stack.enter_async_context(KubeClient(access, CLOCK))
    return World(bao, plane, namespace, cluster, kube, vault, MemoryKeep(), CLOCK.identifier())


@pytest.fixture
async def world(
    openbao: OpenBao, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield await world_of(stack, openbao, control_plane, namespace, tmp_path)


async def test_a_value_arrives_and_a_new_version_follows(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        state = await world.until_reason(side, schema.REASON_SYNCED)
        assert (state.version, state.condition.status, state.synced_at is not None) == (1, "True", True)
        metadata = (await world.live())["metadata"]
        assert metadata["labels"][schema.BINDING_LABEL] == "db"
        assert metadata["annotations"][schema.VERSION_ANNOTATION] == "1"

        await world.put(password="two", user="app")
        await world.until_values(password="two", user="app")
        await side.until(lambda: world.state(side).version == 2)
    assert side.types() == [schema.EVENT_SYNCED, schema.EVENT_ROTATED]


async def test_a_key_that_leaves_vault_leaves_the_secret_and_keys_are_renamed(world: World) -> None:
    await world.put(password="one", user="app")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one", user="app")
        await world.put(password="two")
        await world.until_values(password="two")
        side.tell(world.section(generation=2, keys={"DB_PASSWORD": "password"}))
        await world.until_values(DB_PASSWORD="two")
        side.tell(world.section(generation=3, keys={"DB_PASSWORD": "gone"}))
        state = await world.until_reason(side, schema.REASON_KEY_MISSING)
        assert "`gone`" in state.condition.message
        assert await world.values() == {"DB_PASSWORD": "two"}
    assert side.types()[-1] == schema.EVENT_FAILED


async def test_what_is_changed_or_deleted_by_hand_is_put_back_at_once(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section(refresh_s=600.0))
        await world.until_values(password="one")
        edit = {"data": {"password": base64.b64encode(b"mine").decode()}}
        await world.until_reason(side, schema.REASON_SYNCED)
        await world.plane.admin.merge(world.secret_path, edit)
        await side.until(lambda: side.types().count(schema.EVENT_RESTORED) == 1)
        assert await world.values() == {"password": "one"}

        await world.plane.admin.delete(world.secret_path)
        await side.until(lambda: side.types().count(schema.EVENT_RESTORED) == 2)
        assert await world.values() == {"password": "one"}

        strip = {"metadata": {"labels": None, "annotations": None}}
        await world.plane.admin.merge(world.secret_path, strip)
        await side.until(lambda: side.types().count(schema.EVENT_RESTORED) == 3)
        assert (await world.live())["metadata"]["labels"] == {schema.BINDING_LABEL: "db"}
    assert side.types()[0] == schema.EVENT_SYNCED


async def test_a_secret_that_is_not_ours_is_never_touched(world: World) -> None:
    await world.put(password="one")
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"a": "theirs"}}
    await world.plane.admin.create(world.secret_path.rpartition("/")[0], theirs)
    async with world.side() as side:
        side.tell(world.section())
        state = await world.until_reason(side, schema.REASON_NOT_OURS)
        assert state.condition.status == "False"
        side.tell(world.section(generation=2, revoked=True))
        await side.until(lambda: world.state(side).removed)
    assert await world.values() == {"a": "theirs"}


async def test_a_revocation_removes_the_secret_and_gives_a_receipt_that_stays(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        side.tell(world.section(generation=2, revoked=True), halts=("*",))
        await side.until(lambda: world.state(side).removed)
        receipt = world.state(side)
        assert not await world.plane.admin.exists(world.secret_path)
        assert receipt.removed_at
        assert receipt.confirmed_at
        assert receipt.removed_at <= receipt.confirmed_at
        assert receipt.condition.reason == schema.REASON_REVOKED
    assert side.types() == [schema.EVENT_SYNCED, schema.EVENT_REVOKED]
    async with world.side() as again:
        again.tell(world.section(generation=2, revoked=True))
        await again.until(lambda: world.state(again).removed)
        assert world.state(again) == receipt
        again.tell(SecretsSection().as_json())
        await again.until(lambda: world.state(again).condition.reason == "Missing")


async def test_a_finalizer_that_holds_the_secret_is_named(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        await world.plane.admin.merge(world.secret_path, {"metadata": {"finalizers": ["vendor.io/hold"]}})
        side.tell(world.section(generation=2, revoked=True))
        state = await world.until_reason(side, schema.REASON_FINALIZER)
        assert "vendor.io/hold" in state.condition.message
        assert not state.removed
        await world.plane.admin.merge(world.secret_path, {"metadata": {"finalizers": None}})
        await side.until(lambda: world.state(side).removed)
    assert side.types()[-1] == schema.EVENT_REVOKED


@pytest.mark.parametrize("policy", ["Keep", "Remove"])
async def test_a_retired_binding_keeps_or_removes_its_secret(world: World, policy: str) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        side.tell(SecretsSection().as_json())
        await side.until(lambda: "nothing about" in world.state(side).condition.message)
        assert await world.values() == {"password": "one"}
        retired = Retired.model_validate(
            {"capability": "secrets", "id": world.id, "name": "db", "policy": policy}
        )
        side.tell(None, retired)
        await side.until(lambda: world.state(side).removed)
        if policy == "Keep":
            live = await world.live()
            assert await world.values() == {"password": "one"}
            assert schema.BINDING_LABEL not in (live["metadata"].get("labels") or {})
        else:
            assert await world.values() == {}
    assert side.types()[-1] == schema.EVENT_REMOVED


async def test_a_binding_that_moves_leaves_nothing_behind(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        side.tell(world.section(generation=2, secret="db-two"))
        await side.until(lambda: world.state(side).secret.endswith("/db-two"))
        await world.until_values()
        moved = f"/api/v1/namespaces/{world.namespace}/secrets/db-two"
        assert await world.plane.admin.exists(moved)


async def test_a_changed_type_makes_the_secret_anew_only_if_the_content_fits(world: World) -> None:
    await world.put(username="app", password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(username="app", password="one")
        before = (await world.live())["metadata"]["uid"]
        side.tell(world.section(generation=2, type="kubernetes.io/tls"))
        await world.until_reason(side, schema.REASON_REFUSED)
        assert (await world.live())["metadata"]["uid"] == before
        side.tell(world.section(generation=3, type="kubernetes.io/basic-auth"))
        await world.until_reason(side, schema.REASON_SYNCED)
        live = await world.live()
        assert (live["type"], live["metadata"]["uid"] != before) == ("kubernetes.io/basic-auth", True)


async def test_each_trouble_has_its_reason_and_the_secret_stays(world: World) -> None:
    await world.put(password="one")
    async with world.side() as side:
        side.tell(world.section())
        await world.until_values(password="one")
        side.tell(world.section(generation=2, path="main/other/db"))
        state = await world.until_reason(side, schema.REASON_FORBIDDEN)
        assert "secret/main/other/db" in state.condition.message
        side.tell(world.section(generation=3, path=f"main/{world.cluster.name}/nothing"))
        await world.until_reason(side, schema.REASON_NOT_FOUND)
        side.tell(world.section(generation=4))
        await world.bao.request("DELETE", f"secret/data/{world.vault_path}")
        await world.until_reason(side, schema.REASON_NOT_FOUND)
        assert await world.values() == {"password": "one"}
        side.tell(world.section(generation=5, namespace="not-there"))
        state = await world.until_reason(side, schema.REASON_NAMESPACE_MISSING)
        assert "`not-there`" in state.condition.message
        assert await world.values() == {"password": "one"}


async def test_without_a_vault_the_condition_says_so(world: World) -> None:
    async with Side(CAPABILITY, ports(world.kube, keep=world.keep)) as side:
        side.tell(world.section())
        state = await world.until_reason(side, schema.REASON_VAULT_UNAVAILABLE)
        assert "no Vault is configured" in state.condition.message


async def test_a_namespace_that_comes_later_gets_its_secret(world: World) -> None:
    await world.put(password="one")
    later = f"later-{CLOCK.identifier()}"
    async with world.side() as side:
        side.tell(world.section(namespace=later, refresh_s=600.0))
        await world.until_reason(side, schema.REASON_NAMESPACE_MISSING)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": later}}
        await world.plane.admin.create("/api/v1/namespaces", body)
        await world.until_reason(side, schema.REASON_SYNCED)
    await world.plane.admin.delete(f"/api/v1/namespaces/{later}")


async def test_a_sealed_vault_keeps_the_last_good_secret(
    new_openbao: BaoFactory, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        world = await world_of(stack, await new_openbao(), control_plane, namespace, tmp_path)
        await world.put(password="one")
        side = await stack.enter_async_context(world.side())
        side.tell(world.section())
        await world.until_values(password="one")
        await world.bao.seal()
        state = await world.until_reason(side, schema.REASON_SEALED)
        assert state.condition.status == "Unknown"
        assert await world.values() == {"password": "one"}
        await world.bao.unseal()
        await world.until_reason(side, schema.REASON_SYNCED)
        await world.put(password="two")
        await world.until_values(password="two")
        assert side.types() == [schema.EVENT_SYNCED, schema.EVENT_ROTATED]


async def test_the_value_stands_in_nothing_that_is_reported_kept_or_logged(world: World) -> None:
    canary = f"canary-{CLOCK.identifier()}"
    await world.put(password=canary, **{"bad key": canary})
    with structlog.testing.capture_logs() as logs:
        async with world.side() as side:
            side.tell(world.section())
            await world.until_reason(side, schema.REASON_REFUSED)
            side.tell(world.section(generation=2, keys={"password": "password"}))
            await world.until_values(password=canary)
            side.tell(world.section(generation=3, type="kubernetes.io/tls", keys={"password": "password"}))
            await world.until_reason(side, schema.REASON_REFUSED)
            side.tell(world.section(generation=4, revoked=True))
            await side.until(lambda: world.state(side).removed)
    encoded = base64.b64encode(canary.encode()).decode()
    written = repr((logs, side.bodies, side.happened, world.keep.values))
    assert canary not in written
    assert encoded not in written
