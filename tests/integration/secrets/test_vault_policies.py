"""The policies of a fleet on a real OpenBao: who can read what, and that the controller can read nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleetbus.local.vault import OpenBao
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.vault import VaultClient
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.runtime.vault_link import VaultLink
from fleetbus.schemas import vault_policies as policies
from fleetbus.schemas.errors import NotFound, VaultForbidden
from fleetbus.schemas.subjects import ClusterId
from tests.vault_cluster import VaultCluster, join, signed

CLOCK = SystemClock()
Join = Callable[[], Awaitable[VaultCluster]]
Connect = Callable[[VaultCluster], Awaitable[VaultClient]]


@pytest.fixture
async def owner(openbao: OpenBao) -> AsyncIterator[VaultAdmin]:
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        yield admin


@pytest.fixture
async def joined(openbao: OpenBao, owner: VaultAdmin, tmp_path: Path) -> Join:
    async def new() -> VaultCluster:
        cluster = ClusterId("main", f"c{CLOCK.identifier()}")
        return await join(owner, cluster, openbao.address, openbao.ca_file, tmp_path)

    return new


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def open_client(cluster: VaultCluster) -> VaultClient:
            return await stack.enter_async_context(VaultClient(cluster.access, CLOCK))

        yield open_client


@dataclass(frozen=True, slots=True)
class Shared:
    """A shared secret that its owner made: its path and group."""

    path: str
    group: str


@pytest.fixture
async def shared(owner: VaultAdmin) -> Shared:
    name = f"s{CLOCK.identifier()}"
    policy = policies.shared_policy_name(name)
    await owner.write_policy(policy, policies.shared_secret_policy(name))
    await owner.ensure_group(policies.group_name(name), [policy])
    await owner.put(policies.shared_path(name), {"password": "shared"})
    await owner.put(f"{policies.shared_path(name)}/below", {"password": "below"})
    # Like the name, but another secret.
    await owner.put(f"{policies.shared_path(name)}-other", {"password": "other"})
    return Shared(policies.shared_path(name), policies.group_name(name))


@pytest.fixture
async def token(owner: VaultAdmin) -> str:
    await owner.write_policy(policies.CONTROLLER_POLICY, policies.controller_policy())
    return await owner.create_token([policies.CONTROLLER_POLICY], period_s=3600)


@pytest.fixture
async def controller(openbao: OpenBao, token: str) -> AsyncIterator[VaultAdmin]:
    async with VaultAdmin(openbao.address, token, openbao.ca_file) as admin:
        yield admin


@pytest.fixture
async def raw(openbao: OpenBao, token: str) -> AsyncIterator[VaultLink]:
    """The controller's token in the hands of somebody who sends whatever they like."""
    link = VaultLink(openbao.address, openbao.ca_file, token=token)
    yield link
    await link.close()


async def test_a_cluster_reads_its_own_path_and_no_other(
    owner: VaultAdmin, joined: Join, connect: Connect
) -> None:
    one, two = await joined(), await joined()
    for cluster in (one, two):
        await owner.put(policies.own_path(cluster.cluster, "database"), {"password": cluster.cluster.name})
    vault = await connect(one)
    secret = await vault.read(policies.own_path(one.cluster, "database"))
    assert secret.values == {"password": one.cluster.name}
    for forbidden in (policies.own_path(two.cluster, "database"), f"main/{one.cluster.name}", "main/x", "x"):
        with pytest.raises(VaultForbidden):
            await vault.read(forbidden)


async def test_a_member_of_the_group_reads_the_shared_secret_until_it_is_none(
    controller: VaultAdmin, joined: Join, connect: Connect, shared: Shared
) -> None:
    one, two = await joined(), await joined()
    members = [await controller.entity_id(cluster.identity) for cluster in (one, two)]
    assert members == [one.entity_id, two.entity_id]
    first, second = await connect(one), await connect(two)
    with pytest.raises(VaultForbidden):
        await first.read(shared.path)

    await controller.set_group_members(shared.group, members)
    assert await controller.group_members(shared.group) == frozenset(members)
    for vault in (first, second):
        assert (await vault.read(shared.path)).values == {"password": "shared"}
        assert (await vault.read(f"{shared.path}/below")).values == {"password": "below"}
        with pytest.raises(VaultForbidden):
            await vault.read(f"{shared.path}-other")

    await controller.set_group_members(shared.group, [two.entity_id])
    with pytest.raises(VaultForbidden):
        await first.read(shared.path)
    assert (await second.read(shared.path)).version == 1

    await controller.set_group_members(shared.group, [])
    assert await controller.group_members(shared.group) == frozenset()
    with pytest.raises(VaultForbidden):
        await second.read(shared.path)


async def test_a_group_made_before_its_owner_shared_the_secret_gains_nobody(
    owner: VaultAdmin, raw: VaultLink, joined: Join, connect: Connect
) -> None:
    cluster, name = await joined(), f"s{CLOCK.identifier()}"
    group, policy = policies.group_name(name), policies.shared_policy_name(name)
    members = {"member_entity_ids": [cluster.entity_id]}
    await raw.call(lambda client: client.write_data(f"identity/group/name/{group}", data=members), group)
    await owner.write_policy(policy, policies.shared_secret_policy(name))
    await owner.ensure_group(group, [policy])
    await owner.put(policies.shared_path(name), {"password": "shared"})
    assert await owner.group_members(group) == frozenset()
    with pytest.raises(VaultForbidden):
        await (await connect(cluster)).read(policies.shared_path(name))

    await owner.set_group_members(group, [cluster.entity_id])
    await owner.ensure_group(group, [policy])
    assert await owner.group_members(group) == {cluster.entity_id}


async def test_a_disabled_entity_has_neither_its_token_nor_a_login(
    owner: VaultAdmin, joined: Join, connect: Connect
) -> None:
    cluster = await joined()
    path = policies.own_path(cluster.cluster, "database")
    await owner.put(path, {"password": "first"})
    before = await connect(cluster)
    assert await before.version(path) == 1
    await owner.disable_entity(cluster.identity)
    with pytest.raises(VaultForbidden):
        await before.read(path)
    with pytest.raises(VaultForbidden):
        await (await connect(cluster)).read(path)
    # The ceremony, said again, does not let it in by the way.
    await owner.ensure_entity(cluster.identity, policies.identity_metadata(cluster.cluster))
    with pytest.raises(VaultForbidden):
        await before.read(path)
    await owner.disable_entity(cluster.identity, False)
    assert await before.version(path) == 1


async def test_a_token_that_was_revoked_is_replaced_by_a_new_login(
    openbao: OpenBao, owner: VaultAdmin, joined: Join, connect: Connect
) -> None:
    cluster = await joined()
    path = policies.own_path(cluster.cluster, "database")
    await owner.put(path, {"password": "first"})
    vault = await connect(cluster)
    assert await vault.version(path) == 1
    await openbao.request("PUT", f"sys/leases/revoke-force/auth/{cluster.identity}")
    assert await vault.version(path) == 1


async def test_a_token_near_its_end_is_replaced_with_the_file_read_again(
    owner: VaultAdmin, joined: Join
) -> None:
    class Ahead(SystemClock):
        ahead_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.ahead_s

    clock, cluster = Ahead(), await joined()
    path = policies.own_path(cluster.cluster, "database")
    await owner.put(path, {"password": "first"})
    async with VaultClient(cluster.access, clock) as vault:
        assert await vault.version(path) == 1
        good = cluster.access.token_file.read_text()
        cluster.access.token_file.write_text("none")
        assert await vault.version(path) == 1
        clock.ahead_s = 3000
        with pytest.raises(VaultForbidden):
            await vault.version(path)
        cluster.access.token_file.write_text(good)
        assert await vault.version(path) == 1


async def test_only_the_cluster_s_own_token_logs_in(joined: Join, connect: Connect) -> None:
    one, two = await joined(), await joined()
    path = policies.own_path(one.cluster, "database")
    wrong = {
        "another cluster's key": signed(two.key),
        "another subject": signed(one.key, sub="system:serviceaccount:default:default"),
        "another audience": signed(one.key, aud=["kubernetes"]),
        "expired": signed(one.key, exp=1_000_000_000),
        "no token": "none",
    }
    for text in wrong.values():
        one.access.token_file.write_text(text)
        with pytest.raises(VaultForbidden) as refused:
            await (await connect(one)).read(path)
        assert text not in refused.value.sentence()


async def test_the_controller_reads_no_value(
    owner: VaultAdmin, controller: VaultAdmin, joined: Join, shared: Shared, raw: VaultLink
) -> None:
    cluster = await joined()
    own = policies.own_path(cluster.cluster, "database")
    await owner.put(own, {"password": "canary"})
    await controller.set_group_members(shared.group, [cluster.entity_id])
    mounts = ("data", "metadata", "subkeys")
    paths = [f"secret/{kind}/{path}" for kind in mounts for path in (own, shared.path)]
    for path in [*paths, "secret/config", "cubbyhole/x", "sys/raw/x", "sys/storage/raft/snapshot"]:
        assert await _forbidden(raw, "get", path)
    for path in ("secret/metadata", "secret/metadata/shared", "auth/token/accessors"):
        assert await _forbidden(raw, "list", path)


async def test_the_controller_gives_itself_and_others_no_right(
    joined: Join, shared: Shared, raw: VaultLink, openbao: OpenBao
) -> None:
    cluster = await joined()
    identity, mount = cluster.identity, f"auth/{cluster.identity}"
    everything = 'path "*" { capabilities = ["sudo", "read"] }'
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("sys/policies/acl/fleetbus-controller", {"policy": everything}),
        ("sys/policy/fleetbus-controller", {"policy": everything}),
        (f"sys/policies/acl/{policies.CLUSTER_POLICY}", {"policy": everything}),
        (f"{mount}/role/{policies.ROLE}", {"role_type": "jwt", "user_claim": "sub"}),
        (f"{mount}/role/other", {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"]}),
        (f"{mount}/config", {"jwt_validation_pubkeys": []}),
        ("sys/auth/own", {"type": "jwt"}),
        (f"identity/entity/name/{identity}", {"policies": ["root"]}),
        (f"identity/entity/name/{identity}", {"disabled": False}),
        (f"identity/entity/id/{cluster.entity_id}", {"metadata": {"realm": "main", "cluster": "other"}}),
        ("identity/entity-alias", {"name": "x", "canonical_id": cluster.entity_id, "mount_accessor": "x"}),
        ("identity/entity/merge", {"from_entity_ids": [cluster.entity_id], "to_entity_id": "x"}),
        ("identity/group", {"name": shared.group, "policies": ["default"]}),
        ("identity/group/name/other", {"member_entity_ids": [cluster.entity_id]}),
        ("auth/token/create", {}),
        ("auth/token/create", {"policies": [policies.CLUSTER_POLICY], "entity_alias": "x"}),
        ("auth/token/create-orphan", {}),
    ]
    group, new = f"identity/group/name/{shared.group}", "identity/group/name/fleetbus-new"
    bodies: list[dict[str, Any]] = [
        {"policies": ["root"]},
        {"member_entity_ids": [cluster.entity_id], "policies": ["root"]},
        {"member_entity_ids": [cluster.entity_id], "POLICIES": ["root"]},
        {"member_entity_ids": [cluster.entity_id], "type": "external"},
        {"member_entity_ids": [], "name": "fleetbus-renamed"},
        {"member_entity_ids": [], "id": "x"},
        {"member_entity_ids": [], "member_group_ids": []},
        {"member_entity_ids": [], "metadata": {"a": "b"}},
    ]
    attempts += [(path, body) for path in (group, new) for body in bodies]
    for path, body in attempts:
        assert await _forbidden(raw, "post", path, json=body), (path, body)
        assert await _forbidden(raw, "patch", path, json=body, headers=_MERGE), (path, body)
    assert await _forbidden(raw, "delete", group)
    await raw.call(lambda client: client.write_data(group, data={}), group)
    found = (await openbao.request("GET", group))["data"]
    assert found["policies"] == [policies.shared_policy_name(shared.group.removeprefix("fleetbus-"))]
    assert found["member_entity_ids"] is None or found["member_entity_ids"] == []


async def test_a_group_that_the_controller_makes_has_no_policy(
    controller: VaultAdmin, joined: Join, connect: Connect, raw: VaultLink, openbao: OpenBao
) -> None:
    cluster = await joined()
    name = f"fleetbus-n{CLOCK.identifier()}"
    with pytest.raises(NotFound):
        await controller.set_group_members(name, [cluster.entity_id])
    path = f"identity/group/name/{name}"
    await raw.call(
        lambda client: client.write_data(path, data={"member_entity_ids": [cluster.entity_id]}), path
    )
    assert not (await openbao.request("GET", path))["data"]["policies"]
    vault = await connect(cluster)
    with pytest.raises(VaultForbidden):
        await vault.read("shared/anything")


async def test_the_controller_renews_its_token_and_belongs_to_nobody(
    controller: VaultAdmin, raw: VaultLink
) -> None:
    await controller.renew_own_token()
    found: Any = await raw.call(lambda client: client.auth.token.lookup_self(), "auth/token")
    assert found["data"]["policies"] == [policies.CONTROLLER_POLICY]
    assert found["data"]["entity_id"] == ""
    assert found["data"]["orphan"] is True


async def test_a_cluster_s_identity_moves_with_the_ceremony(
    owner: VaultAdmin, openbao: OpenBao, joined: Join, connect: Connect, tmp_path: Path
) -> None:
    """Joining again replaces the keys: the old ones let nobody in."""
    old = await joined()
    path = policies.own_path(old.cluster, "database")
    await owner.put(path, {"password": "first"})
    new = await join(owner, old.cluster, openbao.address, openbao.ca_file, tmp_path)
    assert new.entity_id == old.entity_id
    assert await (await connect(new)).version(path) == 1
    new.access.token_file.write_text(signed(old.key))
    with pytest.raises(VaultForbidden):
        await (await connect(new)).read(path)
    assert await owner.versions(path) == {1: True}
    await owner.delete(path)
    assert await owner.versions(path) == {1: False}
    await owner.disable_mount(old.identity)
    with pytest.raises(VaultForbidden):
        await (await connect(old)).read(path)
    assert (await owner.seal_status()).sealed is False


_MERGE = {"Content-Type": "application/merge-patch+json"}


async def _forbidden(raw: VaultLink, method: str, path: str, **more: Any) -> bool:
    """Whether a call is refused by policy; another refusal, or none, is not enough."""
    try:
        await raw.call(lambda client: client.adapter.request(method, f"/v1/{path}", **more), path)
    except VaultForbidden as error:
        return "permission denied" in error.message or "does not allow" in error.message
    except NotFound:
        return False
    return False
