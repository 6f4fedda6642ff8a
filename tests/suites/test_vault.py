"""What holds of the port `Vault`, on a real OpenBao and on the simulated one alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fleetbus.local.vault import OpenBao
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Vault
from fleetbus.runtime.vault import VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.errors import NotFound, VaultForbidden, VaultUnavailable
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.vault import SimulatedVault, SimulatedVaultServer
from tests.vault_cluster import join

CLOCK = SystemClock()


@dataclass(slots=True)
class World:
    """One cluster's Vault, its own path below the mount, and the hands of who owns Vault."""

    vault: Vault
    own: str
    bao: OpenBao | None
    server: SimulatedVaultServer = field(default_factory=SimulatedVaultServer)

    async def put(self, path: str, values: Mapping[str, Any]) -> int:
        if self.bao is None:
            return self.server.put(path, values)
        answer = await self.bao.request("POST", f"secret/data/{path}", {"data": dict(values)})
        return int(answer["data"]["version"])

    async def delete(self, path: str) -> None:
        if self.bao is None:
            self.server.delete(path)
        else:
            await self.bao.request("DELETE", f"secret/data/{path}")

    async def seal(self, sealed: bool) -> None:
        if self.bao is None:
            self.server.sealed = sealed
        elif sealed:
            await self.bao.seal()
        else:
            await self.bao.unseal()


@pytest.fixture(params=["simulated", "real"])
def bao(request: pytest.FixtureRequest) -> OpenBao | None:
    if request.param == "simulated":
        return None
    return cast("OpenBao", request.getfixturevalue("openbao"))


@pytest.fixture
async def world(bao: OpenBao | None, tmp_path: Path) -> AsyncIterator[World]:
    cluster = ClusterId("main", f"c{CLOCK.identifier()}")
    own = f"main/{cluster.name}"
    if bao is None:
        server = SimulatedVaultServer()
        server.allow("c", f"{own}/")
        yield World(SimulatedVault(server, "c", CLOCK), own, None, server)
        return
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(VaultAdmin(bao.address, bao.root_token, bao.ca_file))
        joined = await join(admin, cluster, bao.address, bao.ca_file, tmp_path)
        vault = await stack.enter_async_context(VaultClient(joined.access, CLOCK))
        yield World(vault, own, bao)


async def test_the_newest_version_is_read(world: World) -> None:
    path = f"{world.own}/database"
    assert await world.put(path, {"user": "shop", "password": "first"}) == 1
    assert await world.put(path, {"user": "shop", "password": "second"}) == 2
    secret = await world.vault.read(path)
    assert (secret.version, secret.values) == (2, {"user": "shop", "password": "second"})
    assert await world.vault.version(path) == 2
    assert "second" not in repr(secret)


async def test_what_is_no_string_becomes_json_text(world: World) -> None:
    path = f"{world.own}/mixed"
    await world.put(
        path, {"number": 7, "share": 0.5, "yes": True, "none": None, "nested": {"a": [1]}, "text": "7"}
    )
    assert (await world.vault.read(path)).values == {
        "number": "7",
        "share": "0.5",
        "yes": "true",
        "none": "null",
        "nested": '{"a":[1]}',
        "text": "7",
    }


async def test_a_deleted_version_is_not_found_and_has_no_number(world: World) -> None:
    path = f"{world.own}/database"
    await world.put(path, {"password": "first"})
    await world.delete(path)
    with pytest.raises(NotFound) as missing:
        await world.vault.read(path)
    assert missing.value.where == path
    assert await world.vault.version(path) == 0
    assert await world.put(path, {"password": "second"}) == 2
    assert await world.vault.version(path) == 2


@pytest.mark.parametrize("name", ["none-such", "a/../b", "a//b", "."])
async def test_what_never_was_is_not_found(world: World, name: str) -> None:
    with pytest.raises(NotFound):
        await world.vault.read(f"{world.own}/{name}")
    with pytest.raises(NotFound):
        await world.vault.version(f"{world.own}/{name}")


async def test_another_cluster_s_path_is_forbidden(world: World) -> None:
    await world.put("main/another/database", {"password": "canary"})
    for ask in (world.vault.read, world.vault.version):
        with pytest.raises(VaultForbidden) as forbidden:
            await ask("main/another/database")
        assert forbidden.value.where == "main/another/database"
        assert "canary" not in forbidden.value.sentence()


async def test_while_sealed_it_is_unavailable_and_afterwards_it_goes_on(world: World) -> None:
    path = f"{world.own}/database"
    await world.put(path, {"password": "first"})
    assert await world.vault.version(path) == 1
    await world.seal(True)
    try:
        with pytest.raises(VaultUnavailable):
            await world.vault.read(path)
    finally:
        await world.seal(False)
    assert await world.vault.version(path) == 1
